package storetest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"entramcp/handler/store"
)

// Op names an operation of store.Table.
type Op string

// The operations of store.Table.
const (
	Insert      Op = "Insert"
	Get         Op = "Get"
	Replace     Op = "Replace"
	Delete      Op = "Delete"
	List        Op = "List"
	ListExpired Op = "ListExpired"
	Drop        Op = "Drop"
)

// Reads reports whether o changes nothing.
func (o Op) Reads() bool { return o == Get || o == List || o == ListExpired }

// Call is one operation on its way to the table, or back.
type Call struct {
	Op
	// Context is the caller's.
	Context context.Context
	// Partition is that of the row, of a listing the first of its span, and
	// empty where there is none.
	Partition string
	// Page is what a listing has returned.
	Page store.Page
}

// Hook looks at a call, holds it up for as long as it runs, or fails it.
type Hook func(Call) error

// Writes are the operations that change something.
var Writes = []Op{Insert, Replace, Delete, Drop}

// On is a hook that runs f at the operations of those names, or at all.
func On(f func() error, ops ...Op) Hook {
	return func(c Call) error {
		if len(ops) == 0 || slices.Contains(ops, c.Op) {
			return f()
		}
		return nil
	}
}

// Once is On for the first such operation alone.
func Once(f func() error, ops ...Op) Hook {
	var done atomic.Bool
	return On(func() error {
		if done.Swap(true) {
			return nil
		}
		return f()
	}, ops...)
}

// Fail is a hook that fails the operations of those names, or all.
func Fail(err error, ops ...Op) Hook { return On(func() error { return err }, ops...) }

// In is h for the partitions that begin with prefix alone.
func (h Hook) In(prefix string) Hook {
	return func(c Call) error {
		if strings.HasPrefix(c.Partition, prefix) {
			return h(c)
		}
		return nil
	}
}

// Instrumented is a table that counts what is asked of it and whose connection
// a test can disturb. It is safe for concurrent use.
type Instrumented struct {
	store.Table

	mu            sync.Mutex
	counts        map[Op]int
	taken         [2]int // reads and writes that Taken has told of
	before, after Hook
}

// Instrument counts and disturbs what is asked of table.
func Instrument(table store.Table) *Instrumented {
	return &Instrumented{Table: table, counts: map[Op]int{}}
}

// Before has h run before each operation; one that h fails has no effect.
func (t *Instrumented) Before(h Hook) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = h
}

// After has h run after each operation; if h fails, the operation has had its
// effect but its answer is lost.
func (t *Instrumented) After(h Hook) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = h
}

// Repair ends what Before and After have set.
func (t *Instrumented) Repair() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before, t.after = nil, nil
}

// Count is how many operations of those names there were, or of any, failed
// ones included.
func (t *Instrumented) Count(ops ...Op) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for op, count := range t.counts {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += count
		}
	}
	return n
}

// Counts are the reads and writes since the table was made.
func (t *Instrumented) Counts() (reads, writes int) {
	reads = t.Count(Get, List, ListExpired)
	return reads, t.Count() - reads
}

// Taken are the reads and writes since it was last called.
func (t *Instrumented) Taken() (reads, writes int) {
	reads, writes = t.Counts()
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.taken
	t.taken = [2]int{reads, writes}
	return reads - before[0], writes - before[1]
}

// through is an operation that is counted and disturbed.
func through[T any](t *Instrumented, c Call, run func() (T, error)) (result T, err error) {
	t.mu.Lock()
	t.counts[c.Op]++
	before, after := t.before, t.after
	t.mu.Unlock()
	if before != nil {
		if err := before(c); err != nil {
			return result, err
		}
	}
	result, err = run()
	if after == nil {
		return result, err
	}
	c.Page, _ = any(result).(store.Page)
	if lost := after(c); lost != nil {
		var none T
		return none, lost
	}
	return result, err
}

// Insert is store.Table's.
func (t *Instrumented) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	return through(t, Call{Op: Insert, Context: ctx, Partition: row.Partition}, func() (store.ETag, error) { return t.Table.Insert(ctx, row) })
}

// Get is store.Table's.
func (t *Instrumented) Get(ctx context.Context, partition, key string) (store.Row, error) {
	return through(t, Call{Op: Get, Context: ctx, Partition: partition}, func() (store.Row, error) { return t.Table.Get(ctx, partition, key) })
}

// Replace is store.Table's.
func (t *Instrumented) Replace(ctx context.Context, row store.Row) (store.ETag, error) {
	return through(t, Call{Op: Replace, Context: ctx, Partition: row.Partition}, func() (store.ETag, error) { return t.Table.Replace(ctx, row) })
}

// Delete is store.Table's.
func (t *Instrumented) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	_, err := through(t, Call{Op: Delete, Context: ctx, Partition: partition}, func() (struct{}, error) { return struct{}{}, t.Table.Delete(ctx, partition, key, etag) })
	return err
}

// List is store.Table's.
func (t *Instrumented) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	return through(t, Call{Op: List, Context: ctx, Partition: span.First}, func() (store.Page, error) { return t.Table.List(ctx, span, from) })
}

// ListExpired is store.Table's.
func (t *Instrumented) ListExpired(ctx context.Context, before time.Time, from store.Cursor) (store.Page, error) {
	return through(t, Call{Op: ListExpired, Context: ctx}, func() (store.Page, error) { return t.Table.ListExpired(ctx, before, from) })
}

// Drop is store.Table's.
func (t *Instrumented) Drop(ctx context.Context, rows []store.Row) (int, error) {
	return through(t, Call{Op: Drop, Context: ctx}, func() (int, error) { return t.Table.Drop(ctx, rows) })
}
