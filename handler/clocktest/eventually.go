package clocktest

import (
	"testing"
	"time"
)

// Eventually waits until is holds and fails the test after limit. It is for what
// another process or goroutine does at its own time, and asks at once, soon, and
// at last every 50 ms.
func Eventually(tb testing.TB, what string, limit time.Duration, is func() bool) {
	tb.Helper()
	end := time.Now().Add(limit)
	for wait := time.Millisecond; !is(); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(wait)
	}
}
