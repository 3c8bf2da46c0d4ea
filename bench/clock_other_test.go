//go:build !linux

package bench

import "time"

// sleeper waits until a time, as well as the runtime's timers do.
type sleeper struct{}

func newSleeper() (*sleeper, error) { return &sleeper{}, nil }

func (*sleeper) until(t time.Time) error {
	time.Sleep(time.Until(t))
	return nil
}

func (*sleeper) close() {}

// processorTime is not known here.
func processorTime(int) time.Duration { return 0 }
