package telemetry

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"entramcp/handler/observe"
)

// Middleware makes a server span of every request and measures its duration. A
// span continues the traceparent that came with the request. Its route is the
// pattern that a ServeMux below next finds: paths hold what strangers write.
func (t *Telemetry) Middleware(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := attribute.String("http.request.method", knownMethod(r.Method))
		ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, method.Value.AsString(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(method))
		if id := observe.CorrelationID(ctx); id != "" {
			span.SetAttributes(attribute.String("entramcp.correlation_id", id))
		}
		t.active.Add(ctx, 1, metric.WithAttributes(method))
		start := time.Now()
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		r = r.WithContext(ctx)
		defer func() {
			attributes := []attribute.KeyValue{method, attribute.Int("http.response.status_code", answer.status)}
			if route := r.Pattern[strings.IndexByte(r.Pattern, ' ')+1:]; route != "" {
				attributes = append(attributes, attribute.String("http.route", route))
				span.SetName(method.Value.AsString() + " " + route)
			}
			if answer.status >= http.StatusInternalServerError {
				attributes = append(attributes, attribute.Int("error.type", answer.status))
				span.SetStatus(codes.Error, "")
			}
			span.SetAttributes(attributes...)
			span.End()
			t.active.Add(ctx, -1, metric.WithAttributes(method))
			t.requests.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
		}()
		next.ServeHTTP(answer, r)
	})
}

// knownMethod keeps what strangers call a method from becoming an attribute.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "_OTHER"
}

// answer keeps the status. Unwrap lets http.ResponseController reach the
// writer below.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK { // not the informational ones
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush serves code that asserts http.Flusher instead of using a controller.
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// Transport makes a client span of every request to Entra or another API and
// measures its duration. The path stays out: Graph's hold ids of users.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return transport{t, next}
}

type transport struct {
	*Telemetry
	next http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	attributes := []attribute.KeyValue{
		attribute.String("http.request.method", knownMethod(r.Method)), attribute.String("server.address", r.URL.Hostname()),
	}
	ctx, span := t.tracer.Start(r.Context(), knownMethod(r.Method), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	defer span.End()
	start := time.Now()
	res, err := t.next.RoundTrip(r.WithContext(ctx))
	var outcome []attribute.KeyValue
	switch {
	case err != nil:
		outcome = append(outcome, attribute.String("error.type", errorType(ctx)))
	case res.StatusCode >= http.StatusBadRequest:
		outcome = append(outcome, attribute.Int("http.response.status_code", res.StatusCode), attribute.Int("error.type", res.StatusCode))
	default:
		outcome = append(outcome, attribute.Int("http.response.status_code", res.StatusCode))
	}
	if len(outcome) != 1 || err != nil {
		span.SetStatus(codes.Error, "")
	}
	span.SetAttributes(outcome...)
	t.upstream.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(append(attributes, outcome...)...))
	return res, err
}

// errorType is a fixed word for an error: texts hold addresses.
func errorType(ctx context.Context) string {
	switch ctx.Err() {
	case nil:
		return "connection"
	case context.DeadlineExceeded:
		return "timeout"
	}
	return "canceled"
}
