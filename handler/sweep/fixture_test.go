package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

var tables atomic.Int32

// onBothStores runs test on an empty table of each store.
func onBothStores(t *testing.T, test func(t *testing.T, table store.Table)) {
	t.Run("embedded", func(t *testing.T) {
		table, err := embedded.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = table.Close() })
		test(t, table)
	})
	t.Run("azuretable", func(t *testing.T) {
		table, err := azuretable.New(azuretable.Options{
			ConnectionString: azuretable.ConnectionString(storetest.Azurite(t)),
			Name:             fmt.Sprintf("sweep%d", tables.Add(1)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := table.CreateIfMissing(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, table)
	})
}

// clock is the time that all instances of a test agree on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// hooked lets a test act in the middle of a sweep. What it calls is real.
type hooked struct {
	store.Table
	listed func(store.Page) // after every List
	remove func() error     // before every Delete and Drop
}

func (h hooked) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	page, err := h.Table.List(ctx, span, from)
	if h.listed != nil && err == nil {
		h.listed(page)
	}
	return page, err
}

func (h hooked) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if h.remove != nil {
		if err := h.remove(); err != nil {
			return err
		}
	}
	return h.Table.Delete(ctx, partition, key, etag)
}

func (h hooked) Drop(ctx context.Context, partition string, keys []string) error {
	if h.remove != nil {
		if err := h.remove(); err != nil {
			return err
		}
	}
	return h.Table.Drop(ctx, partition, keys)
}

func sweeper(table store.Table, c *clock, with ...func(*sweep.Options)) *sweep.Sweeper {
	opts := sweep.Options{Table: table, Now: c.Now, Log: slog.New(slog.DiscardHandler)}
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
	if _, err := table.Insert(t.Context(), store.Row{Partition: partition, Key: key, Expires: expires}); err != nil {
		t.Fatal(err)
	}
}

// left lists what is in the table beside the lease.
func left(t *testing.T, table store.Table) []string {
	t.Helper()
	names := []string{}
	var from store.Cursor
	for {
		page, err := table.List(t.Context(), store.Prefix(""), from)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Rows {
			if row.Partition != "leases" {
				names = append(names, row.Partition+"/"+row.Key)
			}
		}
		if from = page.Next; from == "" {
			return names
		}
	}
}

func wantLeft(t *testing.T, table store.Table, want ...string) {
	t.Helper()
	if got := left(t, table); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("left %v, want %v", got, want)
	}
}

var errUnknown = errors.New("connection reset")
