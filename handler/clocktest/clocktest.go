// Package clocktest is the clock of tests: it stands still until it is told to
// go on.
package clocktest

import (
	"sync"
	"time"
)

// Clock is a time that several instances may share. It is safe for concurrent
// use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// New is a clock at noon UTC of a Monday.
func New() *Clock { return At(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) }

// At is a clock at that time.
func At(now time.Time) *Clock { return &Clock{now: now} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance puts the clock forward.
func (c *Clock) Advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}
