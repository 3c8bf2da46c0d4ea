package sweep_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

// beforeDrop is table, with act before each batch is removed.
func beforeDrop(table store.Table, act func() error) store.Table {
	t := storetest.Instrument(table)
	t.Before(storetest.On(act, storetest.Drop))
	return t
}

// afterListing is table, with act after each listing of what has expired.
func afterListing(table store.Table, act func(store.Page)) store.Table {
	t := storetest.Instrument(table)
	t.After(func(c storetest.Call) error {
		if c.Op == storetest.ListExpired {
			act(c.Page)
		}
		return nil
	})
	return t
}

const interval = 15 * time.Minute

// kinds are some of every form.
var kinds = []sweep.Kind{
	{Name: "transactions", Prefix: "t-"}, {Name: "grants", Prefix: "g-"}, {Name: "clients", Prefix: "c-"},
	{Name: "challenges", Prefix: "ch-"}, {Name: "revoked", Prefix: "revoked"},
}

func sweeper(table store.Table, c *clocktest.Clock, with ...func(*sweep.Options)) *sweep.Sweeper {
	opts := sweep.Options{Table: table, Kinds: kinds, Interval: interval, Now: c.Now}
	for _, set := range with {
		set(&opts)
	}
	return sweep.New(opts)
}

func once(t *testing.T, s *sweep.Sweeper) sweep.Report {
	t.Helper()
	report, err := s.Once(t.Context())
	if err != nil {
		t.Fatalf("sweep: %v", err)
	}
	return report
}

func put(t *testing.T, table store.Table, partition, key string, expires time.Time) {
	t.Helper()
	storetest.MustInsert(t, table, store.Row{Partition: partition, Key: key, Expires: expires})
}

// left lists what is in the table beside the lease.
func left(t *testing.T, table store.Table) []string {
	t.Helper()
	names := []string{}
	for _, row := range storetest.Rows(t, table, store.Prefix("")) {
		if row.Partition != sweep.LeasePartition {
			names = append(names, row.Partition+"/"+row.Key)
		}
	}
	return names
}

func wantLeft(t *testing.T, table store.Table, want ...string) {
	t.Helper()
	if got := left(t, table); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("left %v, want %v", got, want)
	}
}

var errUnknown = errors.New("connection reset")

// fill puts n rows into a partition, many at a time.
func fill(t *testing.T, table store.Table, partition string, n int, expires time.Time) {
	t.Helper()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := w; i < n; i += 8 {
				row := store.Row{Partition: partition, Key: fmt.Sprintf("%05d", i), Expires: expires}
				if _, err := table.Insert(t.Context(), row); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
}
