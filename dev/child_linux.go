package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel end the handler when make run is killed.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
