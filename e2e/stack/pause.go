//go:build unix

package stack

import "syscall"

// Pause stops the process where it is, until Resume.
func (i *Instance) Pause() { _ = i.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (i *Instance) Resume() { _ = i.cmd.Process.Signal(syscall.SIGCONT) }

// Terminate asks the process to end, as docker stop and Ctrl-C do.
func (i *Instance) Terminate() { _ = i.cmd.Process.Signal(syscall.SIGTERM) }
