package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

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

// measure runs one operation. What the contract of a table provides for, such
// as a row that is not there, is an outcome and no error.
func (t table) measure(ctx context.Context, operation string, run func(context.Context) error) error {
	attributes := []attribute.KeyValue{attribute.String("db.operation.name", operation)}
	ctx, span := t.telemetry.tracer.Start(ctx, "table "+operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	defer span.End()
	start := time.Now()
	err := run(ctx)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		attributes = append(attributes, attribute.String("outcome", "not_found"))
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		attributes = append(attributes, attribute.String("outcome", "conflict"))
	default:
		attributes = append(attributes, attribute.String("error.type", errorType(ctx)))
		span.SetStatus(codes.Error, "")
	}
	span.SetAttributes(attributes...)
	t.telemetry.storage.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
	return err
}
