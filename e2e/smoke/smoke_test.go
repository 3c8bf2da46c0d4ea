package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// TestSmokeWalksAServer: make smoke against a server whose tenant is simulated,
// with a browser that follows pages and forms as a person would.
func TestSmokeWalksAServer(t *testing.T) {
	server := stack.StartLocal(t, nil, nil)
	var out bytes.Buffer
	w := &walk{endpoint: server.MCP(), client: http.DefaultClient, out: &out, open: func(ctx context.Context, address string) error {
		redirect, err := server.Browser(stack.Alice).Approve(address)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, redirect.String(), nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.run(ctx); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if strings.Count(out.String(), "\nok  ") != 7 || !strings.Contains(out.String(), "| a deployed server, by `make smoke` | 20") {
		t.Errorf("%s", out.String())
	}
	for _, secret := range []string{w.tokens.Access, w.tokens.Refresh} {
		if strings.Contains(out.String(), secret) {
			t.Error("a token is printed")
		}
	}
}

// TestSmokeFailsWhereTheServerIsWrong: each of these is a deployment that people
// could not use.
func TestSmokeFailsWhereTheServerIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not ready": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			_, _ = w.Write([]byte(`{"status":"not ready"}`))
		}, "/readyz is 503: not ready"},
		"another site": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "the answer is not JSON"},
		"open to all":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status":"ready"}`)) }, "without a token: status 200"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			w := &walk{endpoint: server.URL + "/mcp", client: server.Client(), out: &bytes.Buffer{}}
			if err := w.run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
