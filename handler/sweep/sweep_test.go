package sweep_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

func TestExpiredRowsGoAndOthersStay(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		now := c.Now()
		partitions := map[string]string{
			"t-2026112311-a": "transactions",
			"g-5e884898":     "grants",
			"c-ab":           "clients",
			"ch-5e884898":    "challenges",
			"revoked":        "revoked",
		}
		want := map[string]int{}
		for partition, kind := range partitions {
			put(t, table, partition, "long-over", now.Add(-time.Hour))
			put(t, table, partition, "over", now.Add(-sweep.Margin-time.Second))
			put(t, table, partition, "within-margin", now.Add(-sweep.Margin))
			put(t, table, partition, "live", now.Add(time.Second))
			put(t, table, partition, "never", time.Time{})
			want[kind] = 2
		}
		// What a later version keeps here is its own to remove.
		for _, partition := range []string{"x-ab", "revoked-by-user", "t", "unheard-of"} {
			put(t, table, partition, "over", now.Add(-time.Hour))
		}
		report := once(t, sweeper(table, c))
		if !maps.Equal(report.Removed, want) || report.Held || report.Kept != 0 || report.Unknown != 4 || report.Oldest != time.Hour {
			t.Errorf("report %+v, want %v removed", report, want)
		}
		for partition := range partitions {
			for key, stays := range map[string]bool{"long-over": false, "over": false, "within-margin": true, "live": true, "never": true} {
				if _, err := table.Get(t.Context(), partition, key); (err == nil) != stays {
					t.Errorf("%s/%s: %v", partition, key, err)
				}
			}
		}
	})
}

func TestRowsExtendedDuringSweepSurvive(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		for _, key := range []string{"abandoned", "used"} {
			put(t, table, "g-user", key, c.Now().Add(-time.Hour))
		}
		h := afterListing(table, func(page store.Page) {
			for _, row := range page.Rows {
				if row.Key == "used" {
					row.Expires = c.Now().Add(time.Hour)
					if _, err := table.Replace(t.Context(), row); err != nil {
						t.Error(err)
					}
				}
			}
		})
		report := once(t, sweeper(h, c))
		if report.Removed["grants"] != 1 || report.Kept != 1 {
			t.Errorf("report %+v", report)
		}
		wantLeft(t, table, "g-user/used")
	})
}

// An owner that is not done with a row keeps it, and nothing else.
func TestOwnersHaveTheirSayBeforeRowsGo(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		put(t, table, "revoked", "unmarked", c.Now().Add(-time.Hour))
		put(t, table, "c-ab", "over", c.Now().Add(-time.Hour))
		done := false
		var asked []string
		s := sweeper(table, c, func(o *sweep.Options) {
			o.Kinds = append([]sweep.Kind{{Name: "revoked", Prefix: "revoked", Before: func(_ context.Context, rows []store.Row) error {
				for _, row := range rows {
					asked = append(asked, row.Partition+"/"+row.Key)
				}
				if !done {
					return errUnknown
				}
				return nil
			}}}, kinds[:4]...)
		})
		if report := once(t, s); report.Kept != 1 || report.Removed["clients"] != 1 {
			t.Errorf("report %+v", report)
		}
		wantLeft(t, table, "revoked/unmarked")
		done = true
		c.Advance(interval)
		once(t, s)
		wantLeft(t, table)
		if !slices.Equal(asked, []string{"revoked/unmarked", "revoked/unmarked"}) {
			t.Errorf("asked about %v", asked)
		}
	})
}

// However much there is, one sweep removes it, and it says so when it needs
// longer than until the next is due.
func TestSweepGoesOnWhileThereIsWork(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
		const rows = store.MaxPage + 2*store.MaxDrop
		fill(t, table, "g-user", rows, c.Now().Add(-time.Hour))
		var log bytes.Buffer
		slow := beforeDrop(table, func() error { c.Advance(2 * time.Minute); return nil })
		s := sweeper(slow, c, func(o *sweep.Options) { o.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
		if report := once(t, s); report.Removed["grants"] != rows || report.Duration != rows/store.MaxDrop*2*time.Minute {
			t.Errorf("report %+v", report)
		}
		wantLeft(t, table)
		if text := log.String(); strings.Count(text, `"level":"WARN","msg":"the sweep is behind"`) != 5 || strings.Count(text, `"level":"WARN","msg":"a sweep ended, but is behind"`) != 1 {
			t.Errorf("logged %s", text)
		}
	})
}

func TestOneLinePerRun(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		c := clocktest.New()
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
	table := storetest.Embedded(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		over := time.Now().Add(-time.Hour).Truncate(time.Second)
		put(t, table, "c-ab", "first", over)
		var runs []time.Duration
		began := time.Now()
		h := beforeDrop(table, func() error {
			runs = append(runs, time.Since(began))
			if len(runs) == 3 {
				cancel()
			}
			put(t, table, "c-ab", fmt.Sprint("for-run-", len(runs)+1), over)
			return nil
		})
		sweep.New(sweep.Options{Table: h, Kinds: kinds, Interval: interval, Now: time.Now}).Run(ctx)
		if len(runs) != 3 {
			t.Fatalf("%d sweeps until the context was cancelled", len(runs))
		}
		between := func(what string, wait, interval time.Duration) {
			if wait < interval*8/10 || wait > interval*12/10+time.Second {
				t.Errorf("%s after %v, want within a fifth of %v", what, wait, interval)
			}
		}
		between("the first sweep", runs[0], interval/10)
		between("the second sweep", runs[1]-runs[0], interval)
		between("the third sweep", runs[2]-runs[1], interval)
	})
}
