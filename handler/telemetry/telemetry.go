// Package telemetry makes OpenTelemetry traces and metrics of the server and
// sends them over OTLP/HTTP to where the standard OTEL_* variables point. In
// Azure without such a variable the metrics go to the log, as one line every
// five minutes, for queries and alerts. Otherwise there is no Telemetry, and
// nothing is measured.
//
// Spans and metrics hold no secret, user name, address, query or argument. HTTP
// follows the semantic conventions of HTTP servers and clients, MCP those of
// MCP servers (open-telemetry/semantic-conventions-genai).
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"entramcp/handler/observe"
)

// scope is the name of the instrumentation in every span and metric.
const scope = "entramcp"

// logInterval is how often the metrics go to the log where no collector gets
// them.
const logInterval = 5 * time.Minute

// Options are what New needs.
type Options struct {
	// Getenv reads the OTEL_* variables that this package handles itself:
	// OTEL_SDK_DISABLED, OTEL_SERVICE_NAME, and those of the exporter. The SDK
	// reads the rest, such as OTEL_TRACES_SAMPLER, from the environment.
	Getenv func(string) string
	// Name is service.name where OTEL_SERVICE_NAME is unset, Version is
	// service.version and Instance service.instance.id.
	Name, Version, Instance string
	// ToLog sends the metrics to Log where no endpoint is set.
	ToLog bool
	Log   *slog.Logger
}

// Telemetry holds the providers and instruments of one process. A nil
// *Telemetry is valid and does nothing.
type Telemetry struct {
	tracer     trace.Tracer
	meter      metric.Meter
	propagator propagation.TextMapPropagator
	shutdown   []func(context.Context) error

	requests, calls, upstream, storage, wrapping metric.Float64Histogram
	active                                       metric.Int64UpDownCounter
	events                                       metric.Int64Counter
}

// New starts telemetry, or returns nil if there is nowhere to send it.
func New(o Options) (*Telemetry, error) {
	if strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	traces, err := destination(o.Getenv, "TRACES")
	if err != nil {
		return nil, err
	}
	metrics, err := destination(o.Getenv, "METRICS")
	if err != nil {
		return nil, err
	}
	if traces == nil && metrics == nil && !o.ToLog {
		return nil, nil
	}
	about, err := resource.New(context.Background(), resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", o.name()), attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.Instance)))
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(&exportErrors{log: o.Log})
	t := &Telemetry{propagator: propagation.TraceContext{}, tracer: tracenoop.NewTracerProvider().Tracer(scope)}
	if traces != nil {
		exporter := otlptrace.NewUnstarted(traceClient{traces})
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
		t.tracer = provider.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
		t.shutdown = append(t.shutdown, provider.Shutdown)
	}
	var reader sdkmetric.Reader
	switch {
	case metrics != nil:
		reader = sdkmetric.NewPeriodicReader(&metricExporter{send: metrics.send})
	case o.ToLog:
		reader = sdkmetric.NewPeriodicReader(&logExporter{log: o.Log}, sdkmetric.WithInterval(logInterval))
	default:
		reader = sdkmetric.NewManualReader()
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(about))
	t.meter = provider.Meter(scope, metric.WithInstrumentationVersion(o.Version))
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return t, t.instruments()
}

// exportErrors says in the log that something was not sent, at most once in
// logInterval: a collector that does not answer is tried every few seconds.
type exportErrors struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
}

// Handle is otel's ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.last) < logInterval {
		return
	}
	e.last = time.Now()
	e.log.Warn("telemetry was not sent", "cause", err)
}

func (o Options) name() string {
	if name := o.Getenv("OTEL_SERVICE_NAME"); name != "" {
		return name
	}
	return o.Name
}

var (
	httpSeconds = metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10)
	mcpSeconds  = metric.WithExplicitBucketBoundaries(.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300)
)

func (t *Telemetry) instruments() error {
	var errs []error
	seconds := func(h *metric.Float64Histogram, name, description string, buckets metric.HistogramOption) {
		var err error
		*h, err = t.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), buckets)
		errs = append(errs, err)
	}
	seconds(&t.requests, "http.server.request.duration", "Duration of HTTP server requests.", httpSeconds)
	seconds(&t.calls, "mcp.server.operation.duration", "Duration of MCP requests, as the server handles them.", mcpSeconds)
	seconds(&t.upstream, "http.client.request.duration", "Duration of requests to Entra and to other APIs.", httpSeconds)
	seconds(&t.storage, "entramcp.store.operation.duration", "Duration of operations on the table.", httpSeconds)
	seconds(&t.wrapping, "entramcp.key.operation.duration", "Duration of wrapping and unwrapping an epoch.", httpSeconds)
	var err error
	t.active, err = t.meter.Int64UpDownCounter("http.server.active_requests", metric.WithUnit("{request}"), metric.WithDescription("Requests that are being served."))
	errs = append(errs, err)
	t.events, err = t.meter.Int64Counter("entramcp.events", metric.WithUnit("{event}"), metric.WithDescription("Audit events, by name and reason."))
	return errors.Join(append(errs, err)...)
}

// Gauge observes read whenever metrics are collected, if read knows the value.
// Unit is of UCUM, such as "s" or "{request}".
func (t *Telemetry) Gauge(name, unit, description string, read func() (value float64, known bool)) error {
	if t == nil {
		return nil
	}
	_, err := t.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			if value, known := read(); known {
				o.Observe(value)
			}
			return nil
		}))
	return err
}

// Counts are what a Counter observes: totals since the start, by the value of its
// attribute.
type Counts map[string]int64

// Counter observes read whenever metrics are collected. A total never falls.
func (t *Telemetry) Counter(name, unit, description, label string, read func() Counts) error {
	if t == nil {
		return nil
	}
	_, err := t.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for value, total := range read() {
				o.Observe(total, metric.WithAttributes(attribute.String(label, value)))
			}
			return nil
		}))
	return err
}

// Event counts an audit event and notes it on the span of the request. Reasons
// are few fixed words.
func (t *Telemetry) Event(ctx context.Context, e observe.Event) {
	if t == nil {
		return
	}
	attributes := []attribute.KeyValue{attribute.String("event", string(e.Name))}
	if e.Reason != "" {
		attributes = append(attributes, attribute.String("reason", e.Reason))
	}
	t.events.Add(ctx, 1, metric.WithAttributes(attributes...))
	trace.SpanFromContext(ctx).AddEvent(string(e.Name), trace.WithAttributes(attributes...))
}

// Shutdown sends what has been collected. After ctx ends, the rest is lost.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	var errs []error
	for _, shutdown := range t.shutdown {
		errs = append(errs, shutdown(ctx))
	}
	return errors.Join(errs...)
}
