package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/handler/clocktest"
	"entramcp/handler/store"
)

// together lets changes wait for a commit that is under way, so that they share
// the next one. When all of them wait, ready is called.
func together(t *testing.T, table *Table, ready func(), changes ...func()) {
	t.Helper()
	tx, err := table.db.Begin(true) // the one writer of the file
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	waiting := func(running bool, n int) {
		clocktest.Eventually(t, "the changes wait", 20*time.Second, func() bool {
			table.commits.mu.Lock()
			defer table.commits.mu.Unlock()
			return table.commits.running == running && len(table.commits.waiting) == n
		})
	}
	waiting(false, 0)
	var wg sync.WaitGroup
	wg.Go(func() { _ = table.update(t.Context(), "first", func(buckets) error { return nil }) })
	waiting(true, 0)
	for _, change := range changes {
		wg.Go(change)
	}
	waiting(true, len(changes))
	ready()
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func opened(t *testing.T) *Table {
	t.Helper()
	table, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

// transactions is how many were committed so far.
func transactions(t *testing.T, table *Table) (n int) {
	t.Helper()
	if err := table.db.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// inserted is an insert that must succeed.
func inserted(t *testing.T, table *Table, key string) func() {
	return func() {
		if _, err := table.Insert(t.Context(), store.Row{Partition: "p", Key: key}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func wantRow(t *testing.T, table *Table, key string, want error) {
	t.Helper()
	if _, err := table.Get(t.Context(), "p", key); !errors.Is(err, want) {
		t.Errorf("row %s: %v, want %v", key, err, want)
	}
}

func TestWritersWhoWaitShareACommit(t *testing.T) {
	table := opened(t)
	before := transactions(t, table)
	var changes []func()
	for i := range 20 {
		changes = append(changes, inserted(t, table, fmt.Sprint(i)))
	}
	together(t, table, func() {}, changes...)
	if n := transactions(t, table) - before; n != 2 { // the commit they waited for, and their own
		t.Errorf("%d commits", n)
	}
	for i := range changes {
		wantRow(t, table, fmt.Sprint(i), nil)
	}
}

// TestAWriterFailsAlone: the changes that share a commit with it are committed, and
// nothing of what it had begun stays.
func TestAWriterFailsAlone(t *testing.T) {
	broken := errors.New("broken")
	half := func(then func() error) func(context.Context, *Table) error {
		return func(ctx context.Context, table *Table) error {
			return table.update(ctx, "half", func(b buckets) error {
				if _, err := b.put(address("p", "failed"), store.Row{Partition: "p", Key: "failed"}); err != nil {
					return err
				}
				return then()
			})
		}
	}
	insert := func(key string) func(context.Context, *Table) error {
		return func(ctx context.Context, table *Table) error {
			_, err := table.Insert(ctx, store.Row{Partition: "p", Key: key})
			return err
		}
	}
	for name, tt := range map[string]struct {
		write func(context.Context, *Table) error
		leave bool
		want  error // nil is any
	}{
		"a conflict":              {write: insert("there"), want: store.ErrExists},
		"its caller has left":     {write: insert("failed"), leave: true, want: context.Canceled},
		"in the middle":           {write: half(func() error { return broken }), want: broken},
		"in the middle, by panic": {write: half(func() error { panic("broken") })},
	} {
		t.Run(name, func(t *testing.T) {
			table := opened(t)
			inserted(t, table, "there")()
			old := store.Row{Partition: "p", Key: "old"}
			var err error
			if old.ETag, err = table.Insert(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			together(t, table, func() {
				if tt.leave {
					cancel()
				}
			}, inserted(t, table, "one"), func() {
				if n, err := table.Drop(t.Context(), []store.Row{old}); n != 1 || err != nil {
					t.Errorf("%d of one row dropped, %v", n, err)
				}
			}, func() {
				if err := tt.write(ctx, table); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			}, inserted(t, table, "two"))
			wantRow(t, table, "one", nil)
			wantRow(t, table, "two", nil)
			wantRow(t, table, "failed", store.ErrNotFound)
			wantRow(t, table, "old", store.ErrNotFound)
		})
	}
}

// TestListingWritesNothing: once the index is complete, which it is from the start in
// a file that this version made.
func TestListingWritesNothing(t *testing.T) {
	table := opened(t)
	inserted(t, table, "k")()
	before := transactions(t, table)
	if _, err := table.ListExpired(t.Context(), time.Unix(1, 0), ""); err != nil {
		t.Fatal(err)
	}
	if n := transactions(t, table) - before; n != 0 {
		t.Errorf("%d commits", n)
	}
}

// TestACommitThatPanicsIsAnError: of all who share it, and of nobody who comes later.
func TestACommitThatPanicsIsAnError(t *testing.T) {
	table := opened(t)
	together(t, table, func() {}, func() {
		if err := table.update(t.Context(), "broken", func(b buckets) error {
			b.rows.Tx().OnCommit(func() { panic("broken") })
			return nil
		}); err == nil {
			t.Error("no error")
		}
	}, func() {
		if _, err := table.Insert(t.Context(), store.Row{Partition: "p", Key: "beside"}); err == nil {
			t.Error("no error beside it")
		}
	})
	inserted(t, table, "later")()
	wantRow(t, table, "later", nil)
}
