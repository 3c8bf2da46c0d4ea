package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Operation is one MCP request.
type Operation struct {
	// Method is the JSON-RPC method, such as "tools/call".
	Method string
	// Tool and Prompt are names of the catalogue, where the method has one.
	Tool, Prompt string
	// Protocol is the revision.
	Protocol string
	// Subject is that of the caller's token.
	Subject string
	// TraceParent is _meta.traceparent of the request: it becomes the parent,
	// and the HTTP request a link (SEP-414).
	TraceParent string
}

// MCP begins the span of an MCP request; end gives it its outcome: "" for
// success, the JSON-RPC error code as text, or "tool_error".
func (t *Telemetry) MCP(ctx context.Context, o Operation) (_ context.Context, end func(errorType string)) {
	if t == nil {
		return ctx, func(string) {}
	}
	name := o.Method
	attributes := []attribute.KeyValue{attribute.String("mcp.method.name", o.Method)}
	switch {
	case o.Tool != "":
		name += " " + o.Tool
		attributes = append(attributes, attribute.String("gen_ai.operation.name", "execute_tool"), attribute.String("gen_ai.tool.name", o.Tool))
	case o.Prompt != "":
		name += " " + o.Prompt
		attributes = append(attributes, attribute.String("gen_ai.prompt.name", o.Prompt))
	}
	if o.Protocol != "" {
		attributes = append(attributes, attribute.String("mcp.protocol.version", o.Protocol))
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...), trace.WithAttributes(attribute.String("enduser.pseudo.id", o.Subject))}
	if o.TraceParent != "" {
		here := trace.SpanContextFromContext(ctx)
		remote := t.propagator.Extract(context.Background(), propagation.MapCarrier{"traceparent": o.TraceParent})
		if parent := trace.SpanContextFromContext(remote); parent.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
			options = append(options, trace.WithLinks(trace.Link{SpanContext: here}))
		}
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	start := time.Now()
	return ctx, func(errorType string) {
		if errorType != "" {
			attributes = append(attributes, attribute.String("error.type", errorType))
			span.SetAttributes(attributes[len(attributes)-1])
			span.SetStatus(codes.Error, "")
		}
		span.End()
		t.calls.Record(ctx, time.Since(start).Seconds(), metric.WithAttributes(attributes...))
	}
}
