package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"entramcp/handler/keyring"
)

// Wrapper makes a span of every use of the wrapping key, which may be a call to Key
// Vault, and measures its duration.
func (t *Telemetry) Wrapper(next keyring.Wrapper) keyring.Wrapper {
	if t == nil {
		return next
	}
	return wrapper{next, t}
}

type wrapper struct {
	keyring.Wrapper
	telemetry *Telemetry
}

func (w wrapper) Wrap(ctx context.Context, key []byte) (id string, wrapped []byte, err error) {
	w.measure(ctx, "wrap", func(ctx context.Context) error { id, wrapped, err = w.Wrapper.Wrap(ctx, key); return err })
	return id, wrapped, err
}

func (w wrapper) Unwrap(ctx context.Context, id string, wrapped []byte) (key []byte, err error) {
	w.measure(ctx, "unwrap", func(ctx context.Context) error { key, err = w.Wrapper.Unwrap(ctx, id, wrapped); return err })
	return key, err
}

func (w wrapper) measure(ctx context.Context, operation string, run func(context.Context) error) {
	attributes := []attribute.KeyValue{attribute.String("operation", operation)}
	ctx, span := w.telemetry.tracer.Start(ctx, "key "+operation, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	start := time.Now()
	if run(ctx) != nil {
		attributes = append(attributes, attribute.String("error.type", errorType(ctx)))
		span.SetStatus(codes.Error, "")
	}
	w.telemetry.wrapping.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
}
