package sweep_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

func TestOneOfManyInstancesSweeps(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		// The first round races to insert the lease, the others to replace it.
		for round := range 3 {
			for i := range 20 {
				put(t, table, "g-user", fmt.Sprint(round, "-", i), c.Now().Add(-time.Hour))
			}
			var swept, removed atomic.Int32
			var instances sync.WaitGroup
			for range 16 {
				instances.Go(func() {
					report, err := sweeper(table, c).Once(t.Context())
					if err != nil {
						t.Error(err)
					}
					if !report.Held {
						swept.Add(1)
					}
					removed.Add(int32(report.Removed["grants"]))
				})
			}
			instances.Wait()
			if swept.Load() != 1 || removed.Load() != 20 {
				t.Errorf("round %d: %d instances swept %d rows", round, swept.Load(), removed.Load())
			}
			c.Advance(time.Hour)
		}
	})
}

func TestCompleteSweepHoldsOthersOffForMostOfAnInterval(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		once(t, sweeper(table, c))
		c.Advance(11 * time.Minute)
		if !once(t, sweeper(table, c)).Held {
			t.Error("swept again after 11 minutes")
		}
		c.Advance(time.Minute)
		if once(t, sweeper(table, c)).Held {
			t.Error("still held after 12 minutes, the shortest wait of an instance")
		}
	})
}

func TestSweepKilledMidwayIsTakenOver(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		fill(t, table, "g-user", 3*store.MaxDrop, c.Now().Add(-time.Hour))
		ctx, kill := context.WithCancel(t.Context())
		batches := 0
		dying := beforeDrop(table, func() error {
			if batches++; batches == 2 {
				kill()
			}
			return nil
		})
		report, err := sweeper(dying, c).Once(ctx)
		if !errors.Is(err, context.Canceled) || report.Removed["grants"] != store.MaxDrop {
			t.Fatalf("the killed sweep: %+v, %v", report, err)
		}
		if !once(t, sweeper(table, c)).Held {
			t.Error("its lease did not outlive it")
		}
		c.Advance(3 * time.Minute)
		if report := once(t, sweeper(table, c)); report.Removed["grants"] != 2*store.MaxDrop {
			t.Errorf("the next sweep: %+v", report)
		}
		wantLeft(t, table)
	})
}

// A sweep that works for long keeps its lease, and leaves its place to the one
// that goes on should it die.
func TestLongSweepKeepsItsLeaseAndItsPlace(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		fill(t, table, "g-user", store.MaxPage+5*store.MaxDrop, c.Now().Add(-time.Hour))
		ctx, kill := context.WithCancel(t.Context())
		batches := 0
		slow := beforeDrop(table, func() error {
			batches++
			c.Advance(2 * time.Minute)
			if !once(t, sweeper(table, c)).Held {
				t.Error("another instance swept at the same time")
			}
			if batches == store.MaxPage/store.MaxDrop+3 {
				kill()
			}
			return nil
		})
		if _, err := sweeper(slow, c).Once(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("the killed sweep: %v", err)
		}
		first := true
		next := afterListing(table, func(page store.Page) {
			if first && len(page.Rows) != 3*store.MaxDrop {
				t.Errorf("the next sweep began with %d rows, want those from the last place on", len(page.Rows))
			}
			first = false
		})
		c.Advance(3 * time.Minute)
		once(t, sweeper(next, c))
		wantLeft(t, table)
	})
}

// A place at which every sweep fails, or that another version wrote, does not
// keep the rest from being swept.
func TestPlaceThatLeadsNowhereIsTriedOnce(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		put(t, table, "c-ab", "over", c.Now().Add(-time.Hour))
		lease := func(cursor string) []byte {
			value, err := json.Marshal(map[string]any{"until": c.Now(), "place": map[string]any{"before": c.Now().Add(-10 * time.Minute), "cursor": cursor}})
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
		storetest.MustInsert(t, table, store.Row{Partition: sweep.LeasePartition, Key: "sweep", Value: lease("no cursor of this store!")})
		once(t, sweeper(table, c))
		wantLeft(t, table)

		put(t, table, "c-ab", "over", c.Now().Add(-time.Hour))
		c.Advance(interval)
		row := storetest.MustGet(t, table, sweep.LeasePartition, "sweep")
		row.Value = lease("p=x&r=y")
		storetest.MustReplace(t, table, row)
		failing := beforeDrop(table, func() error { return errUnknown })
		_, _ = sweeper(failing, c).Once(t.Context())
		c.Advance(3 * time.Minute)
		once(t, sweeper(table, c))
		wantLeft(t, table)
	})
}

func TestUnknownOutcomeEndsTheRun(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		for _, partition := range []string{"g-user", "t-2026112310-0"} {
			put(t, table, partition, "k", c.Now().Add(-time.Hour))
		}
		failing := beforeDrop(table, func() error { return errUnknown })
		if _, err := sweeper(failing, c).Once(t.Context()); !errors.Is(err, errUnknown) {
			t.Errorf("sweep on failing storage: %v", err)
		}
		c.Advance(time.Hour)
		once(t, sweeper(table, c))
		wantLeft(t, table)
	})
}

// A sweep that hangs for longer than its lease meets its successor.
func TestTwoSweepsAtOnceDoNoHarm(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		fill(t, table, "g-user", 3*store.MaxDrop, c.Now().Add(-time.Hour))
		put(t, table, "g-user", "live", c.Now().Add(24*time.Hour))
		var successor sweep.Report
		calls := 0
		hanging := beforeDrop(table, func() error {
			if calls++; calls == 2 {
				c.Advance(10 * time.Minute)
				successor = once(t, sweeper(table, c))
			}
			return nil
		})
		first := once(t, sweeper(hanging, c))
		if got := first.Removed["grants"] + successor.Removed["grants"]; got != 3*store.MaxDrop {
			t.Errorf("%d grants removed: %+v and %+v", got, first, successor)
		}
		if calls != 2 {
			t.Errorf("the first sweep went on for %d batches after it had lost its lease", calls-2)
		}
		if !once(t, sweeper(table, c)).Held {
			t.Error("the late end of the first sweep took the successor's lease away")
		}
		wantLeft(t, table, "g-user/live")
	})
}

func TestLeaseOfAWrongClockDoesNotStopSweeps(t *testing.T) {
	c := clocktest.New()
	future, err := json.Marshal(map[string]any{
		"until": c.Now().AddDate(10, 0, 0),
		"place": map[string]any{"before": c.Now().AddDate(10, 0, 0), "cursor": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"in the future": future, "unreadable": []byte("{")} {
		t.Run(name, func(t *testing.T) {
			storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
				storetest.MustInsert(t, table, store.Row{Partition: sweep.LeasePartition, Key: "sweep", Value: value})
				put(t, table, "c-ab", "over", c.Now().Add(-time.Hour))
				put(t, table, "c-ab", "live", c.Now().Add(time.Hour))
				if once(t, sweeper(table, c)).Held {
					t.Error("held")
				}
				wantLeft(t, table, "c-ab/live")
			})
		})
	}
}
