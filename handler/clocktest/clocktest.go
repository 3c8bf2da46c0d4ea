// Package clocktest is the clock of tests. It stands still until a test advances
// it, or follows the real clock with an offset.
package clocktest

import (
	"sync"
	"time"
)

// Clock is a time that several instances may share. It is safe for concurrent
// use. The zero Clock runs.
type Clock struct {
	mu    sync.Mutex
	still time.Time // zero: the clock runs
	ahead time.Duration
}

// New is a clock that is stopped at noon UTC of a Monday.
func New() *Clock { return At(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) }

// At is a clock that is stopped at that time.
func At(now time.Time) *Clock { return &Clock{still: now} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still.IsZero() {
		return time.Now().Add(c.ahead)
	}
	return c.still.Add(c.ahead)
}

// Advance puts the clock forward, or back.
func (c *Clock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += by
}
