package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// operation makes a span of run and records how long it took. An error to which
// outcome gives a name is none.
func (t *Telemetry) operation(ctx context.Context, span string, durations metric.Float64Histogram, name attribute.KeyValue, outcome func(error) string, run func(context.Context) error) error {
	attributes := []attribute.KeyValue{name}
	ctx, s := t.tracer.Start(ctx, span, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	defer s.End()
	start := time.Now()
	err := run(ctx)
	if err != nil {
		if named := outcome(err); named != "" {
			attributes = append(attributes, attribute.String("outcome", named))
		} else {
			attributes = append(attributes, attribute.String("error.type", errorType(ctx)))
			s.SetStatus(codes.Error, "")
		}
	}
	s.SetAttributes(attributes...)
	durations.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
	return err
}
