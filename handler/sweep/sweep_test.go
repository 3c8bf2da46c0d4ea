package sweep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"entramcp/handler/store"
	"entramcp/handler/sweep"
)

func TestExpiredRowsGoAndOthersStay(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		now := c.Now()
		kinds := map[string]string{
			"t-2026112311-a": "transactions",
			"g-5e884898":     "grants",
			"c-ab":           "clients",
			"d-ab":           "documents",
			"j-ab":           "assertions",
			"revoked":        "revoked",
			"keys":           "keys",
			"ch-5e884898":    "challenges",
			"x":              "other",
		}
		want := map[string]int{}
		for partition, kind := range kinds {
			put(t, table, partition, "long-over", now.Add(-time.Hour))
			put(t, table, partition, "over", now.Add(-sweep.Margin-time.Second))
			put(t, table, partition, "within-margin", now.Add(-sweep.Margin))
			put(t, table, partition, "live", now.Add(time.Second))
			put(t, table, partition, "never", time.Time{})
			want[kind] = 2
		}
		report := once(t, sweeper(table, c))
		if !maps.Equal(report.Removed, want) || report.More || report.Held || report.Kept != 0 {
			t.Errorf("report %+v, want %v removed", report, want)
		}
		for partition := range kinds {
			for key, stays := range map[string]bool{"long-over": false, "over": false, "within-margin": true, "live": true, "never": true} {
				if _, err := table.Get(t.Context(), partition, key); (err == nil) != stays {
					t.Errorf("%s/%s: %v", partition, key, err)
				}
			}
		}
	})
}

func TestRowsExtendedDuringSweepSurvive(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		for _, key := range []string{"abandoned", "used"} {
			put(t, table, "g-user", key, c.Now().Add(-time.Hour))
		}
		h := hooked{Table: table, listed: func(page store.Page) {
			for _, row := range page.Rows {
				if row.Key == "used" {
					row.Expires = c.Now().Add(time.Hour)
					if _, err := table.Replace(t.Context(), row); err != nil {
						t.Error(err)
					}
				}
			}
		}}
		report := once(t, sweeper(h, c))
		if report.Removed["grants"] != 1 || report.Kept != 1 {
			t.Errorf("report %+v", report)
		}
		wantLeft(t, table, "g-user/used")
	})
}

func TestRunIsBoundedByRowsAndContinued(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		const transactions, grants = 130, 30
		for i := range transactions {
			put(t, table, fmt.Sprintf("t-2026112310-%x", i%2), fmt.Sprintf("%03d", i), c.Now().Add(-time.Hour))
		}
		for i := range grants {
			put(t, table, "g-user", fmt.Sprintf("%03d", i), c.Now().Add(-time.Hour))
		}
		s := sweeper(table, c, func(o *sweep.Options) { o.MaxRows = 20 })
		removed, runs := 0, 0
		for more := true; more; runs++ {
			report := once(t, s)
			n := 0
			for _, count := range report.Removed {
				n += count
			}
			if n > 20+store.MaxDrop {
				t.Errorf("a run removed %d rows", n)
			}
			removed += n
			more = report.More
		}
		if removed != transactions+grants || runs < 3 {
			t.Errorf("%d rows in %d runs", removed, runs)
		}
		wantLeft(t, table)
	})
}

func TestRunIsBoundedInTimeAndContinued(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		for i := range 20 {
			put(t, table, "g-user", fmt.Sprintf("%03d", i), c.Now().Add(-time.Hour))
		}
		slow := hooked{Table: table, remove: func() error { c.pass(10 * time.Second); return nil }}
		s := sweeper(slow, c)
		first := once(t, s)
		if !first.More || first.Removed["grants"] != 6 || first.Duration != time.Minute {
			t.Errorf("first run %+v", first)
		}
		for range 3 {
			once(t, s)
		}
		wantLeft(t, table)
	})
}

// A run may end at its bounds without having removed a row, as when it scanned
// many that have not expired. Such runs still get to the end of the table.
func TestSlowScanContinuesWhereItEnded(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		const rows = 2*store.MaxPage + 10
		for i := range rows {
			put(t, table, "g-user", fmt.Sprintf("%03d", i), c.Now().Add(-time.Hour))
		}
		seen := map[string]bool{}
		slow := hooked{
			Table: table,
			listed: func(page store.Page) {
				for _, row := range page.Rows {
					seen[row.Key] = true
				}
			},
			remove: func() error {
				c.pass(time.Second) // a run has time for the rows of one page
				return store.ErrConflict
			},
		}
		s := sweeper(slow, c, func(o *sweep.Options) { o.MaxTime = store.MaxPage * time.Second })
		for run := range 3 {
			if report := once(t, s); report.More != (run < 2) {
				t.Errorf("run %d: %+v", run, report)
			}
		}
		if len(seen) != rows {
			t.Errorf("three runs of a page each came to %d rows of %d", len(seen), rows)
		}
	})
}

func TestOneLinePerRun(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		c := newClock()
		put(t, table, "c-ab", "k", c.Now().Add(-time.Hour))
		var log bytes.Buffer
		s := sweeper(table, c, func(o *sweep.Options) { o.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
		once(t, s)
		once(t, s) // finds the lease held
		var line struct {
			Level string
			Sweep struct {
				Total, Kept int
				Removed     map[string]int
				More        bool
				Duration    *time.Duration
			}
		}
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("not one line: %v\n%s", err, &log)
		}
		if line.Sweep.Total != 1 || line.Sweep.Removed["clients"] != 1 || line.Sweep.Duration == nil || line.Level != "INFO" {
			t.Errorf("logged %s", &log)
		}
	})
}

func TestRunSweepsUntilContextEnds(t *testing.T) {
	onBothStores(t, func(t *testing.T, table store.Table) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		over := time.Now().Add(-time.Hour).Truncate(time.Second)
		put(t, table, "c-ab", "first", over)
		runs := 0
		h := hooked{Table: table, remove: func() error {
			if runs++; runs == 2 {
				cancel()
			}
			put(t, table, "c-ab", fmt.Sprint("for-run-", runs+1), over)
			return nil
		}}
		s := sweeper(h, newClock(), func(o *sweep.Options) { o.Interval, o.Now = 10*time.Millisecond, time.Now })
		s.Run(ctx)
		if runs != 2 {
			t.Errorf("%d runs until the context was cancelled", runs)
		}
	})
}
