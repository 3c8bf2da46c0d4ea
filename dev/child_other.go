//go:build !linux

package main

import "os/exec"

// dieWithParent has no counterpart outside Linux; Ctrl-C still reaches both.
func dieWithParent(*exec.Cmd) {}
