package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"entramcp/handler/telemetry"
)

// collector receives traces and metrics over OTLP/HTTP.
type collector struct {
	url string

	mu      sync.Mutex
	spans   []*tracepb.Span
	metrics map[string]*metricpb.Metric
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: map[string]*metricpb.Metric{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.URL.Path == "/v1/metrics" {
			var data metricpb.MetricsData
			if err := proto.Unmarshal(body, &data); err != nil {
				t.Error(err)
			}
			for _, r := range data.GetResourceMetrics() {
				for _, scope := range r.GetScopeMetrics() {
					for _, m := range scope.GetMetrics() {
						c.metrics[m.GetName()] = m
					}
				}
			}
			return
		}
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil {
			t.Error(err)
		}
		for _, r := range data.GetResourceSpans() {
			for _, scope := range r.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// telemetry sends to the collector; Shutdown sends all that there is.
func (c *collector) telemetry(t *testing.T) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(telemetry.Options{Name: "mcp", Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.url}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	return tel
}
