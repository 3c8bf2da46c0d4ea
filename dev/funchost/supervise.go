package funchost

import (
	"context"
	"errors"
	"time"
)

// Exit statuses of the handler that are no error (WorkerConstants).
const (
	exitSuccess = 0
	exitRestart = 200
)

// maxErrors and errorWindow: with the third error that follows another within
// the window the host gives up (HttpFunctionInvocationDispatcher,
// ErrorEventsThreshold and WorkerRestartErrorIntervalThresholdInMinutes).
const (
	maxErrors   = 3
	errorWindow = 30 * time.Minute
)

var errGone = errors.New("the host is shutting down")

// supervise keeps the handler running until ctx ends or the host gives up.
func (h *Host) supervise(ctx context.Context) {
	defer close(h.ended)
	var crashes crashes
	for {
		p, err := h.start()
		if err != nil {
			h.say(Error, "Failed to start Worker Channel. %v", err)
			h.gate.pass(err)
			return
		}
		h.mu.Lock()
		h.current = p
		g := h.gate
		h.mu.Unlock()

		if err = h.probe(ctx, p); err == nil {
			g.pass(nil)
			select {
			case <-p.exited:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			p.kill()
			h.close(errGone)
			return
		}
		if !exited(p) {
			h.say(Error, "the handler cannot be initialized: %v", err)
			p.kill()
			h.close(err)
			return
		}
		if !h.restart(p, &crashes) {
			return
		}
	}
}

// restart says whether the handler is started again, and if so closes the gate
// (WorkerProcess.OnProcessExited).
func (h *Host) restart(p *process, c *crashes) bool {
	switch code := p.cmd.ProcessState.ExitCode(); code {
	case exitSuccess:
		h.say(Information, "the handler ended with 0 and is not started again")
		h.close(errors.New("the handler ended with 0"))
		return false
	case exitRestart:
		h.say(Information, "Language Worker Process exited and needs to be restarted.")
	default:
		h.say(Error, "Language Worker Process exited. %s", p.cmd.ProcessState)
		if c.add(h.options.Now()) >= maxErrors {
			h.say(Error, "Exceeded http worker restart retry count. Shutting down Functions Host")
			h.close(errGone)
			return false
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = nil
	select {
	case <-h.gate.open:
		h.gate = newGate()
	default: // the requests that wait go on waiting
	}
	return true
}

// close makes the gate answer everything with err.
func (h *Host) close(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.current = nil
	select {
	case <-h.gate.open:
		h.gate = newGate()
	default:
	}
	h.gate.pass(err)
}

func exited(p *process) bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// crashes counts the errors of which each came within errorWindow of the last.
type crashes struct {
	n    int
	last time.Time
}

func (c *crashes) add(now time.Time) int {
	if now.Sub(c.last) > errorWindow {
		c.n = 0
	}
	c.n++
	c.last = now
	return c.n
}
