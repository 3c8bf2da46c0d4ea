package limit

import (
	"strconv"
	"testing"
	"time"
)

func TestEachKeyHasItsOwnBoundAndAllShareTheTotal(t *testing.T) {
	now := time.Unix(1000, 0)
	l := New(Bound{1, 2}, Bound{1, 3}, func() time.Time { return now })
	for i, tt := range []struct {
		key  string
		wait time.Duration
	}{
		{"a", 0}, {"a", 0},
		{"a", time.Second}, // its own bound; the total is not charged
		{"b", 0},
		{"b", time.Second}, // the total; its own bound is not charged
	} {
		if got := l.Wait(tt.key); got != tt.wait {
			t.Errorf("event %d of %s: wait %s, want %s", i, tt.key, got, tt.wait)
		}
	}
	now = now.Add(3 * time.Second)
	for i, allowed := range []bool{true, true, false} {
		if l.Allow("b") != allowed {
			t.Errorf("later event %d: want allowed %v", i, allowed)
		}
	}
}

func TestMoreKeysThanAreKeptDoNotPassTheTotal(t *testing.T) {
	now := time.Unix(1000, 0)
	l := New(Bound{1, 1}, Bound{1, 100}, func() time.Time { return now })
	passed := 0
	for i := range 3 * keysKept {
		if l.Allow(strconv.Itoa(i)) {
			passed++
		}
	}
	if passed != 100 {
		t.Errorf("%d events passed, want 100", passed)
	}
	if n := l.seen.Len(); n != keysKept {
		t.Errorf("%d keys are kept, want %d", n, keysKept)
	}
}
