package sweep_test

import (
	"context"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

// The doctor and the metrics say when a sweep was last finished: not when one
// began, or died.
func TestWhenASweepWasLastFinished(t *testing.T) {
	table := storetest.Embedded(t)
	c := clocktest.New()
	var known *sweep.Sweeper // the instance that did what is tested
	want := func(when string, want time.Time) {
		t.Helper()
		if got, err := sweep.LastDone(t.Context(), table); !got.Equal(want) || err != nil {
			t.Errorf("%s the table says %v, want %v, %v", when, got, want, err)
		}
		if got := known.Done(); !got.Equal(want) {
			t.Errorf("%s the instance says %v, want %v", when, got, want)
		}
	}
	dies := func() {
		t.Helper()
		put(t, table, "c-ab", "over", c.Now().Add(-time.Hour))
		known = sweeper(beforeDrop(table, func() error { return errUnknown }), c)
		if _, err := known.Once(t.Context()); err == nil {
			t.Fatal("the sweep did not die")
		}
		c.Advance(interval)
	}
	known = sweeper(table, c)
	want("before the first,", time.Time{})
	dies()
	want("after one that died,", time.Time{})

	known = sweeper(beforeDrop(table, func() error { c.Advance(time.Minute); return nil }), c)
	once(t, known)
	finished := c.Now()
	want("after one of a minute,", finished)
	known = sweeper(table, c)
	if !once(t, known).Held {
		t.Fatal("swept again")
	}
	want("at an instance that was held off,", finished)
	c.Advance(interval)
	dies()
	want("after one more that died,", finished)

	c.Advance(-24 * time.Hour) // that clock was wrong
	known = sweeper(table, c)
	once(t, known)
	want("where the table says tomorrow,", c.Now())
}

func TestALeaseWithoutTheTimeOfASweep(t *testing.T) {
	for name, tt := range map[string]struct {
		value string
		fails bool
	}{
		"of an earlier version": {`{"until":"2026-11-23T12:00:00Z"}`, false},
		"that cannot be read":   {`{`, true},
	} {
		table := storetest.Embedded(t)
		storetest.MustInsert(t, table, store.Row{Partition: sweep.LeasePartition, Key: "sweep", Value: []byte(tt.value)})
		if got, err := sweep.LastDone(t.Context(), table); !got.IsZero() || (err != nil) != tt.fails {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sweep.LastDone(ended, table); err == nil {
			t.Errorf("%s: no error though the table was not read", name)
		}
	}
}
