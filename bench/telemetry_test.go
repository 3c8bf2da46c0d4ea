package bench

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"entramcp/dev/browser"
	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/observe"
	"entramcp/handler/telemetry"
)

// telemetryRounds is how often the servers take turns, callsPerTurn calls each.
const (
	telemetryRounds = 40
	callsPerTurn    = 50
)

// BenchmarkTelemetry compares calls over HTTP without telemetry, without it once
// more, with metrics to the log as in Azure, and with traces and metrics to a
// collector. They take turns in one run, and the ratios are to the first: that of
// the second is what the run's own noise makes.
func BenchmarkTelemetry(b *testing.B) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(collector.Close)
	kinds := []struct {
		name    string
		options *telemetry.Options
	}{
		{"off", nil},
		{"off-again", nil},
		{"log", &telemetry.Options{ToLog: true}},
		{"collector", &telemetry.Options{Getenv: func(name string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}[name]
		}}},
	}
	calls := make([]func(), len(kinds))
	for i, kind := range kinds {
		calls[i] = telemetryCaller(b, kind.options)
	}
	spent := make([]time.Duration, len(kinds))
	for b.Loop() {
		for round := range telemetryRounds {
			for turn := range kinds {
				i := (turn + round) % len(kinds)
				begun := time.Now()
				for range callsPerTurn {
					calls[i]()
				}
				spent[i] += time.Since(begun)
			}
		}
	}
	for i, kind := range kinds {
		b.ReportMetric(float64(spent[i].Nanoseconds())/float64(b.N*telemetryRounds*callsPerTurn), kind.name+"-ns/call")
		if i > 0 {
			b.ReportMetric(float64(spent[i])/float64(spent[0]), kind.name+"/off")
		}
	}
}

// telemetryCaller is a client that is signed in to a server of its own; it calls a
// tool once.
func telemetryCaller(b *testing.B, o *telemetry.Options) func() {
	b.Helper()
	s := stack.StartLocal(b, nil, func(d *handler.Dependencies) {
		d.Log = observe.NewLogger(observe.LogOptions{Out: io.Discard, Errs: io.Discard, Level: slog.LevelInfo, OnEvent: nil})
		if o == nil {
			return
		}
		if o.Getenv == nil {
			o.Getenv = func(string) string { return "" }
		}
		o.Log = d.Log
		tel, err := telemetry.New(*o)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = tel.Shutdown(b.Context()) })
		d.Telemetry = tel
		d.Log = observe.NewLogger(observe.LogOptions{Out: io.Discard, Errs: io.Discard, Level: slog.LevelInfo, OnEvent: tel.Event})
	})
	client := oauthclient.New(s.URL, "http://127.0.0.1:8976/callback")
	tokens, err := client.SignIn(b.Context(), client.Public("bench"), url.Values{"scope": {"openid"}}, browser.New(stack.Alice).Approve)
	if err != nil {
		b.Fatal(err)
	}
	header := http.Header{
		"Authorization": {"Bearer " + tokens.Access}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-06-18"},
	}
	return func() {
		answer, err := client.Post(b.Context(), client.Resource, "application/json", []byte(call), header)
		if err != nil || answer.Status != http.StatusOK || !bytes.Contains(answer.Body, []byte("Hello, Ada")) {
			b.Fatalf("%d %s, %v", answer.Status, answer.Body, err)
		}
	}
}
