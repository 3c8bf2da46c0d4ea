package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"entramcp/handler/observe"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// collector is an OTLP receiver.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   map[string]*tracepb.Span
	metrics map[string]*metricpb.Metric
	headers http.Header
	raw     bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: map[string]*tracepb.Span{}, metrics: map[string]*metricpb.Metric{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%v, Content-Type %q", err, r.Header.Get("Content-Type"))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headers = r.Header
		c.raw.Write(body)
		switch r.URL.Path {
		case "/v1/traces":
			var data tracepb.TracesData
			if err := proto.Unmarshal(body, &data); err != nil {
				t.Error(err)
			}
			for _, s := range data.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans() {
				c.spans[s.GetName()] = s
			}
		case "/v1/metrics":
			var data metricpb.MetricsData
			if err := proto.Unmarshal(body, &data); err != nil {
				t.Error(err)
			}
			for _, m := range data.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
				c.metrics[m.GetName()] = m
			}
		default:
			t.Errorf("a request for %s", r.URL.Path)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestARequestIsTracedFromTheClientToStorageAndEntra(t *testing.T) {
	c := newCollector(t)
	tel, err := New(Options{Name: "mcp", Version: "1", Getenv: environment(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, other=c",
	})})
	if err != nil {
		t.Fatal(err)
	}
	entra := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer entra.Close()
	upstream := &http.Client{Transport: tel.Transport(http.DefaultTransport)}
	file := storetest.Embedded(t)
	table := tel.Table(file)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token/{what}", func(w http.ResponseWriter, r *http.Request) {
		ctx, end := tel.MCP(r.Context(), Operation{Method: "tools/call", Tool: "hello", Protocol: "2026-07-28", Subject: "5ab1ec7"})
		defer end("tool_error")
		if _, err := table.Get(ctx, "p", "k"); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, entra.URL+"/secret-path?secret-query", nil)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := upstream.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
		tel.Event(ctx, observe.Event{Name: observe.TokenRefreshed, Reason: "repeat", Client: observe.AuditClient{Name: "secret-name"}})
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if err := tel.Gauge("entramcp.key.age", "s", "Age of the newest epoch.", func() (float64, bool) { return 42, true }); err != nil {
		t.Fatal(err)
	}
	if err := tel.Counter("entramcp.tokens.verified", "{token}", "Tokens.", "cache", func() Counts { return Counts{"hit": 7} }); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/token/secret-segment?code=secret-code", strings.NewReader("secret-body"))
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r.Header.Set("Authorization", "Bearer secret-token")
	tel.Middleware(mux).ServeHTTP(httptest.NewRecorder(), r)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	server, call, get, post := c.spans["POST /token/{what}"], c.spans["tools/call hello"], c.spans["table get"], c.spans["POST"]
	if server == nil || call == nil || get == nil || post == nil {
		t.Fatalf("spans: %v", slices.Collect(maps.Keys(c.spans)))
	}
	if string(server.GetParentSpanId()) != "\xb7\xad\x6b\x71\x69\x20\x33\x31" {
		t.Errorf("the server span does not continue the client's: %x", server.GetParentSpanId())
	}
	for _, child := range []struct{ span, parent *tracepb.Span }{{call, server}, {get, call}, {post, call}} {
		if !bytes.Equal(child.span.GetParentSpanId(), child.parent.GetSpanId()) || !bytes.Equal(child.span.GetTraceId(), server.GetTraceId()) {
			t.Errorf("%s is not a child of %s", child.span.GetName(), child.parent.GetName())
		}
	}
	if server.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || len(call.GetEvents()) != 1 || call.GetEvents()[0].GetName() != "token_refreshed" {
		t.Errorf("status %v, events %v", server.GetStatus(), call.GetEvents())
	}
	if n := c.metrics["http.server.request.duration"].GetHistogram().GetDataPoints()[0].GetCount(); n != 1 {
		t.Errorf("%d requests", n)
	}
	if n := c.metrics["entramcp.events"].GetSum().GetDataPoints()[0].GetAsInt(); n != 1 {
		t.Errorf("%d events", n)
	}
	if v := c.metrics["entramcp.key.age"].GetGauge().GetDataPoints()[0].GetAsDouble(); v != 42 {
		t.Errorf("gauge %v", v)
	}
	if p := c.metrics["entramcp.tokens.verified"].GetSum().GetDataPoints()[0]; p.GetAsInt() != 7 || p.GetAttributes()[0].GetKey() != "cache" {
		t.Errorf("counter %v", p)
	}
	for _, name := range []string{"mcp.server.operation.duration", "http.client.request.duration", "entramcp.store.operation.duration"} {
		if c.metrics[name].GetHistogram() == nil {
			t.Errorf("no %s", name)
		}
	}
	if c.headers.Get("Api-Key") != "a b" || c.headers.Get("Other") != "c" {
		t.Errorf("headers %v", c.headers)
	}
	if bytes.Contains(c.raw.Bytes(), []byte("secret")) {
		t.Error("a secret is in what was sent")
	}
}

func TestTheParentOfACallIsTheOneItsMetaNames(t *testing.T) {
	c := newCollector(t)
	tel, err := New(Options{Getenv: environment(map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/v1/traces"})})
	if err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "nonsense"} {
		ctx, request := tel.tracer.Start(t.Context(), "request")
		_, end := tel.MCP(ctx, Operation{Method: parent, TraceParent: parent})
		end("")
		request.End()
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	named := c.spans["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
	if string(named.GetParentSpanId()) != "\xb7\xad\x6b\x71\x69\x20\x33\x31" || len(named.GetLinks()) != 1 {
		t.Errorf("parent %x, links %v", named.GetParentSpanId(), named.GetLinks())
	}
	if !bytes.Equal(c.spans["nonsense"].GetParentSpanId(), c.spans["request"].GetSpanId()) {
		t.Error("the request is not the parent of a call that names none")
	}
}

func TestWithoutAnEndpointThereIsNoTelemetry(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing set":      nil,
		"switched off":     {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
		"both signals off": {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
	} {
		tel, err := New(Options{Getenv: environment(env)})
		if tel != nil || err != nil {
			t.Errorf("%s: %v %v", name, tel, err)
		}
	}
	var off *Telemetry
	mux := http.NewServeMux()
	if off.Middleware(mux) != http.Handler(mux) || off.Transport(http.DefaultTransport) != http.DefaultTransport || off.Table(nil) != nil {
		t.Error("something stands in the way although nothing is measured")
	}
	off.Event(t.Context(), observe.Event{})
	if _, end := off.MCP(t.Context(), Operation{}); end == nil || off.Gauge("", "", "", nil) != nil || off.Shutdown(t.Context()) != nil {
		t.Error("no telemetry is not harmless")
	}
}

func TestMistakesNameTheirVariable(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for name, env := range map[string]map[string]string{
		endpoint:                              {endpoint: "localhost:4318"},
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "ftp://x"},
		"OTEL_EXPORTER_OTLP_PROTOCOL":         {endpoint: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"OTEL_EXPORTER_OTLP_TIMEOUT":          {endpoint: "http://x", "OTEL_EXPORTER_OTLP_TIMEOUT": "1s"},
		"OTEL_EXPORTER_OTLP_HEADERS":          {endpoint: "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "no value"},
	} {
		if _, err := New(Options{Getenv: environment(env)}); err == nil || !strings.HasPrefix(err.Error(), name+" ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACollectorThatIsAwayIsOneLineInTheLog(t *testing.T) {
	c := newCollector(t)
	c.Close()
	var lines bytes.Buffer
	tel, err := New(Options{Getenv: environment(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}), Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_, end := tel.MCP(t.Context(), Operation{Method: "ping"})
	end("")
	_ = tel.Shutdown(t.Context())
	if n := strings.Count(lines.String(), "telemetry was not sent"); n > 1 {
		t.Errorf("%d lines:\n%s", n, lines.String())
	}
	f := &exportErrors{log: slog.New(slog.NewTextHandler(&lines, nil))}
	lines.Reset()
	for range 100 {
		f.Handle(errors.New("away"))
	}
	if strings.Count(lines.String(), "\n") != 1 || !strings.Contains(lines.String(), "cause=away") {
		t.Errorf("for 100 failures:\n%s", lines.String())
	}
}

func TestWithoutACollectorMetricsGoToTheLog(t *testing.T) {
	var lines bytes.Buffer
	tel, err := New(Options{Getenv: environment(nil), ToLog: true, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	for range 3 {
		tel.Middleware(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	}
	tel.Middleware(mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("BREW", "/secret", nil))
	tel.Event(t.Context(), observe.Event{Name: observe.SignedIn})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`msg=measured metric=http.server.request.duration count=3 `, `http.request.method=GET http.response.status_code=200 http.route=/healthz`,
		`http.request.method=_OTHER http.response.status_code=404`, `metric=entramcp.events count=1 event=signed_in`,
	} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no %q in:\n%s", want, lines.String())
		}
	}
	if strings.Contains(lines.String(), "secret") {
		t.Error("a path that a stranger wrote is in the log")
	}
}
