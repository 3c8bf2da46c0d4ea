package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"entramcp/handler/store"
)

// Table makes a span of every operation on next and measures its duration.
func (t *Telemetry) Table(next store.Table) store.Table {
	if t == nil {
		return next
	}
	return table{next, t}
}

type table struct {
	store.Table
	telemetry *Telemetry
}

func (t table) Insert(ctx context.Context, row store.Row) (tag store.ETag, err error) {
	err = t.measure(ctx, "insert", func(ctx context.Context) error { tag, err = t.Table.Insert(ctx, row); return err })
	return tag, err
}

func (t table) Get(ctx context.Context, partition, key string) (row store.Row, err error) {
	err = t.measure(ctx, "get", func(ctx context.Context) error { row, err = t.Table.Get(ctx, partition, key); return err })
	return row, err
}

func (t table) Replace(ctx context.Context, row store.Row) (tag store.ETag, err error) {
	err = t.measure(ctx, "replace", func(ctx context.Context) error { tag, err = t.Table.Replace(ctx, row); return err })
	return tag, err
}

func (t table) Delete(ctx context.Context, partition, key string, tag store.ETag) error {
	return t.measure(ctx, "delete", func(ctx context.Context) error { return t.Table.Delete(ctx, partition, key, tag) })
}

func (t table) List(ctx context.Context, span store.Span, from store.Cursor) (page store.Page, err error) {
	err = t.measure(ctx, "list", func(ctx context.Context) error { page, err = t.Table.List(ctx, span, from); return err })
	return page, err
}

func (t table) ListExpired(ctx context.Context, before time.Time, from store.Cursor) (page store.Page, err error) {
	err = t.measure(ctx, "list_expired", func(ctx context.Context) error { page, err = t.Table.ListExpired(ctx, before, from); return err })
	return page, err
}

func (t table) Drop(ctx context.Context, rows []store.Row) (removed int, err error) {
	err = t.measure(ctx, "drop", func(ctx context.Context) error { removed, err = t.Table.Drop(ctx, rows); return err })
	return removed, err
}

func (t table) measure(ctx context.Context, operation string, run func(context.Context) error) error {
	return t.telemetry.operation(ctx, "table "+operation, t.telemetry.storage, attribute.String("db.operation.name", operation), outcomeOf, run)
}

// outcomeOf names what the contract of a table provides for, such as a row that is
// not there: an outcome, and no error.
func outcomeOf(err error) string {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "not_found"
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return "conflict"
	}
	return ""
}
