package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// OTLP over HTTP with Protocol Buffers (OTLP 1.x, "OTLP/HTTP"). The exporters of
// the OpenTelemetry project would bring gRPC along, which makes the binary half
// as large again; what they do beside is here.

// endpoint is where one signal goes.
type endpoint struct {
	url     string
	headers map[string]string
	client  *http.Client
}

// destination reads the variables of a signal, TRACES or METRICS, which come
// before those of both. It is nil if no endpoint is set. (OpenTelemetry,
// "OTLP Exporter Configuration".)
func destination(getenv func(string) string, signal string) (*endpoint, error) {
	setting := func(name string) (value, from string) {
		for _, from := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_" + name, "OTEL_EXPORTER_OTLP_" + name} {
			if value := strings.TrimSpace(getenv(from)); value != "" {
				return value, from
			}
		}
		return "", ""
	}
	if strings.EqualFold(getenv("OTEL_"+signal+"_EXPORTER"), "none") {
		return nil, nil
	}
	address, from := setting("ENDPOINT")
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%s is not an http or https URL", from)
	}
	if protocol, from := setting("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s is %q: use http/protobuf, and the collector's port for HTTP, usually 4318", from, protocol)
	}
	if from == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", strings.ToLower(signal))
	}
	e := &endpoint{url: u.String(), headers: map[string]string{}, client: &http.Client{Timeout: 10 * time.Second}}
	if limit, from := setting("TIMEOUT"); limit != "" {
		ms, err := strconv.Atoi(limit)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s is not a number of milliseconds", from)
		}
		e.client.Timeout = time.Duration(ms) * time.Millisecond
	}
	list, from := setting("HEADERS")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		text, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return nil, fmt.Errorf("%s is not a list of name=value", from)
		}
		e.headers[strings.TrimSpace(name)] = text
	}
	return e, nil
}

// send posts one message. The SDK reports errors and goes on with the next; it
// is not tried again, so that a collector that is away costs one request for
// each batch.
func (e *endpoint) send(ctx context.Context, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	for name, value := range e.headers {
		req.Header.Set(name, value)
	}
	res, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)); err != nil {
		return err
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the collector answered %s", res.Status)
	}
	return nil
}

// traceClient is what otlptrace uploads with. TracesData has the encoding of
// ExportTraceServiceRequest, whose package needs gRPC.
type traceClient struct{ *endpoint }

func (traceClient) Start(context.Context) error { return nil }
func (traceClient) Stop(context.Context) error  { return nil }

func (c traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	return c.send(ctx, &tracepb.TracesData{ResourceSpans: spans})
}

// metricExporter sends cumulative metrics.
type metricExporter struct {
	send func(context.Context, proto.Message) error
}

func (*metricExporter) Temporality(sdkmetric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

func (*metricExporter) Aggregation(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(kind)
}

func (*metricExporter) ForceFlush(context.Context) error { return nil }
func (*metricExporter) Shutdown(context.Context) error   { return nil }

func (x *metricExporter) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	scopes := make([]*metricpb.ScopeMetrics, 0, len(m.ScopeMetrics))
	for _, s := range m.ScopeMetrics {
		metrics := make([]*metricpb.Metric, 0, len(s.Metrics))
		for _, one := range s.Metrics {
			if encoded := encode(one); encoded != nil {
				metrics = append(metrics, encoded)
			}
		}
		scopes = append(scopes, &metricpb.ScopeMetrics{Scope: &commonpb.InstrumentationScope{Name: s.Scope.Name, Version: s.Scope.Version}, Metrics: metrics})
	}
	// The encoding of ExportMetricsServiceRequest.
	return x.send(ctx, &metricpb.MetricsData{ResourceMetrics: []*metricpb.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: keyValues(m.Resource.Set())}, ScopeMetrics: scopes,
	}}})
}

// encode knows the kinds of data that this package's instruments give.
func encode(m metricdata.Metrics) *metricpb.Metric {
	out := &metricpb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		sum := &metricpb.Sum{AggregationTemporality: metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, IsMonotonic: data.IsMonotonic}
		for _, p := range data.DataPoints {
			sum.DataPoints = append(sum.DataPoints, &metricpb.NumberDataPoint{Attributes: keyValues(&p.Attributes),
				StartTimeUnixNano: nano(p.StartTime), TimeUnixNano: nano(p.Time), Value: &metricpb.NumberDataPoint_AsInt{AsInt: p.Value}})
		}
		out.Data = &metricpb.Metric_Sum{Sum: sum}
	case metricdata.Gauge[float64]:
		gauge := &metricpb.Gauge{}
		for _, p := range data.DataPoints {
			gauge.DataPoints = append(gauge.DataPoints, &metricpb.NumberDataPoint{Attributes: keyValues(&p.Attributes),
				TimeUnixNano: nano(p.Time), Value: &metricpb.NumberDataPoint_AsDouble{AsDouble: p.Value}})
		}
		out.Data = &metricpb.Metric_Gauge{Gauge: gauge}
	case metricdata.Histogram[float64]:
		histogram := &metricpb.Histogram{AggregationTemporality: metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}
		for _, p := range data.DataPoints {
			histogram.DataPoints = append(histogram.DataPoints, &metricpb.HistogramDataPoint{Attributes: keyValues(&p.Attributes),
				StartTimeUnixNano: nano(p.StartTime), TimeUnixNano: nano(p.Time),
				Count: p.Count, Sum: &p.Sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds})
		}
		out.Data = &metricpb.Metric_Histogram{Histogram: histogram}
	default:
		return nil
	}
	return out
}

func nano(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

func keyValues(set *attribute.Set) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, set.Len())
	for _, kv := range set.ToSlice() {
		value := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv.Value.String()}}
		switch kv.Value.Type() {
		case attribute.INT64:
			value.Value = &commonpb.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}
		case attribute.BOOL:
			value.Value = &commonpb.AnyValue_BoolValue{BoolValue: kv.Value.AsBool()}
		case attribute.FLOAT64:
			value.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: kv.Value.AsFloat64()}
		}
		out = append(out, &commonpb.KeyValue{Key: string(kv.Key), Value: value})
	}
	return out
}
