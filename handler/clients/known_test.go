package clients

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
)

// noInternet is a resolver that finds nothing.
func noInternet() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: net.UnknownNetworkError("none")}
	}}
}

// How the well-known clients come, as their documents say.
var knownRedirects = map[string]string{
	"https://claude.ai/oauth/mcp-oauth-client-metadata":   "https://claude.ai/api/mcp/auth_callback",
	"https://claude.ai/oauth/claude-code-client-metadata": "http://localhost:3118/callback",
	"https://vscode.dev/oauth/client-metadata.json":       "http://127.0.0.1:50123/",
	"https://chatgpt.com/oauth/client.json":               "https://chatgpt.com/connector_platform_oauth_redirect",
	"https://chatgpt.com/oauth/codex/client.json":         "http://127.0.0.1:51234/callback",
	"https://github.com/copilot/cli/client-metadata.json": "http://127.0.0.1:40404/",
	"https://zed.dev/oauth/client-metadata.json":          "http://127.0.0.1:1234/callback",
	"https://goose-docs.ai/oauth/client-metadata.json":    "http://127.0.0.1:40404/oauth_callback",
	"https://opencode.ai/oauth/opencode/client.json":      "http://127.0.0.1:19876/callback",
	"https://slack.com/.well-known/oauth-client-metadata": "https://oauth2.slack.com/external/auth/callback",
}

func TestDocumentsOfKnownClientsAreBuiltIn(t *testing.T) {
	if len(builtIn()) != len(knownRedirects) {
		t.Errorf("%d documents, %d known clients", len(builtIn()), len(knownRedirects))
	}
	table := openTable(t)
	var log strings.Builder
	r := newRegistry(t, Options{Table: table, Documents: Documents{resolver: noInternet()}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for id, redirect := range knownRedirects {
		c, err := r.Lookup(t.Context(), id)
		if err != nil || !c.Allows(redirect) || !c.Public() {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if c.Source != SourceBuiltIn || c.Trusted(redirect) || c.Host == "" {
			t.Errorf("%s is of source %d, trusted: %v", id, c.Source, c.Trusted(redirect))
		}
		r.StoreCopies(t.Context(), c)
		r.Touch(t.Context(), c)
	}
	if n := countRows(t, table, DocumentPrefix); n != 0 {
		t.Errorf("%d built-in documents were stored as if fetched", n)
	}
	if !strings.Contains(log.String(), "PINNED_CLIENTS") || !strings.Contains(log.String(), "built_in=true") {
		t.Errorf("the log does not say so: %s", log.String())
	}
	// Others are told what to do.
	_, err := r.Lookup(t.Context(), appURL)
	if refusal := wantCode(t, err, oauth.TemporarilyUnavailable); !strings.Contains(refusal.Description, "PINNED_CLIENTS") {
		t.Error(refusal.Description)
	}
}

func TestBuiltInDocumentsAreNoWayAroundTheHosts(t *testing.T) {
	none, _ := ParseHosts("none")
	r := newRegistry(t, Options{Documents: Documents{resolver: noInternet(), Hosts: none}})
	if r.AcceptsDocuments() {
		t.Error("documents are announced")
	}
	for id := range knownRedirects {
		_, err := r.Lookup(t.Context(), id)
		wantCode(t, err, oauth.InvalidClient)
	}
}

// A copy that is built in is used only while nothing has been fetched.
func TestABuiltInDocumentComesLast(t *testing.T) {
	s := newSite(t)
	id := s.URL + "/client.json"
	table := openTable(t)
	start := func() (*Registry, *clocktest.Clock) {
		r, clock := documentRegistry(t, s, Options{Table: table})
		r.documents.builtIn = Pinned{id: []byte(documentFor(id, "Built in"))}
		return r, clock
	}
	r, clock := start()
	want := func(name string, source Source) Client {
		t.Helper()
		c, err := r.Lookup(t.Context(), id)
		if err != nil || c.Name != name || c.Source != source {
			t.Errorf("%s, source %d, %v; want %s, %d", c.Name, c.Source, err, name, source)
		}
		return c
	}
	s.serveStatus(http.StatusForbidden)
	want("Built in", SourceBuiltIn)
	want("Built in", SourceBuiltIn)
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d fetches within a minute", n)
	}
	s.serveJSON(documentFor(id, "Fetched"))
	clock.Advance(standInFor)
	c := want("Fetched", SourceFetched)
	r.StoreCopies(t.Context(), c)
	s.serveStatus(http.StatusForbidden)
	clock.Advance(defaultFresh + 6*24*time.Hour)
	want("Fetched", SourceFetched)
	at := clock.Now()
	r, clock = start() // another instance has only the table
	clock.Advance(at.Sub(clock.Now()))
	want("Fetched", SourceFetched)
	clock.Advance(2 * 24 * time.Hour)
	want("Built in", SourceBuiltIn)
	// What the host says of its document counts.
	for name, serve := range map[string]func(){
		"gone":      func() { s.serveStatus(http.StatusGone) },
		"different": func() { s.serveJSON(documentFor(id+"x", "Other")) },
	} {
		clock.Advance(standInFor)
		serve()
		if _, err := r.Lookup(t.Context(), id); err == nil {
			t.Errorf("%s: the built-in document is used", name)
		}
	}
}

// Which names and addresses exist in the server's network is not told.
func TestInternalNamesAreNotTold(t *testing.T) {
	answers := map[string]bool{}
	for name, resolver := range map[string]*net.Resolver{
		"no such name": nameServer(t, func(string, int) []string { return nil }),
		"private":      nameServer(t, func(string, int) []string { return []string{"10.0.0.1"} }),
		"metadata":     nameServer(t, func(string, int) []string { return []string{"169.254.169.254"} }),
		"loopback":     nameServer(t, func(string, int) []string { return []string{"127.0.0.1"} }),
		"no resolver":  noInternet(),
	} {
		r := newRegistry(t, Options{Documents: Documents{resolver: resolver}})
		_, err := r.Lookup(t.Context(), appURL)
		refusal := wantCode(t, err, oauth.TemporarilyUnavailable)
		answers[refusal.Description+refusal.RetryAfter.String()] = true
		if len(answers) != 1 {
			t.Errorf("%s: %s", name, refusal.Description)
		}
	}
}

// The document of one host may send codes to another: that is said.
func TestRedirectToAnotherHostIsTold(t *testing.T) {
	r := newRegistry(t, Options{})
	c, err := r.parseDocument(appURL, []byte(`{"client_id":"`+appURL+`","client_name":"Claude by Anthropic","redirect_uris":["https://app.example/cb","https://app.example:8443/cb","https://evil.example/cb","http://localhost/cb"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for uri, leaves := range map[string]bool{
		"https://app.example/cb": false, "https://app.example:443/cb": false, "https://app.example:8443/cb": true, "https://evil.example/cb": true,
		"https://app.example.evil.example/cb": true, "http://localhost/cb": false, "com.example.app:/cb": false,
	} {
		if c.LeavesHost(uri) != leaves {
			t.Errorf("%s leaves %s: %v", uri, c.Host, !leaves)
		}
		if c.Trusted(uri) {
			t.Errorf("%s is trusted", uri)
		}
	}
	if (Client{}).LeavesHost("https://evil.example/cb") {
		t.Error("a client without a document leaves its host")
	}
}
