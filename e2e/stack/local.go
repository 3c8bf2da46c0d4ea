package stack

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"entramcp/dev/tenant"
	catalogue "entramcp/e2e/catalogue"
	"entramcp/handler"
	"entramcp/handler/clocktest"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// Local is the server in the test's own process, wired by handler.New like the
// one that is deployed. It has what a process cannot be given from outside: a
// clock, further tools, and a look into its table and at what it answers.
type Local struct {
	URL       string
	Tenant    *tenant.Tenant
	TenantURL string
	Table     store.Table
	Clock     *clocktest.Clock

	mu   sync.Mutex
	seen []Exchange
}

// StartLocal starts a server and ends it with the test. more, which may be nil,
// changes what it is made of.
func StartLocal(tb testing.TB, env map[string]string, more func(*handler.Dependencies)) *Local {
	tb.Helper()
	l := &Local{Clock: &clocktest.Clock{}}
	front := httptest.NewUnstartedServer(nil)
	l.URL = "http://localhost:" + portOf(front.Listener.Addr())
	l.Tenant, l.TenantURL = startTenant(tb, l.URL, l.Clock.Now, Options{})

	all := settings(l.URL, l.TenantURL)
	maps.Copy(all, env)
	cfg, err := config.Load(func(name string) string { return all[name] })
	if err != nil {
		tb.Fatal(err)
	}
	table := storetest.Embedded(tb)
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("local-master-key", 3))})
	if err != nil {
		tb.Fatal(err)
	}
	var log Output
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of the server at %s:\n%s", l.URL, log.String())
		}
	})
	offered := catalogue.Catalogue()
	deps := handler.Dependencies{
		Catalogue: &offered,
		Table:     table, Wrapper: wrapper, Now: l.Clock.Now,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if more != nil {
		more(&deps)
	}
	l.Table = deps.Table
	server, err := handler.New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	front.Config.Handler = l.record(server)
	front.Start()
	tb.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	return l
}

// MCP is the URL of the MCP endpoint.
func (l *Local) MCP() string { return l.URL + "/mcp" }

// Browser is NewBrowser for somebody who reads by the server's clock, which takes
// no time.
func (l *Local) Browser(user string) *Browser {
	b := NewBrowser(user)
	b.Reads = l.Clock.Advance
	return b
}

// Client is an HTTP client on the computer of the person.
func (l *Local) Client() *http.Client { return http.DefaultClient }

// Rows are the rows whose partition begins with prefix.
func (l *Local) Rows(tb testing.TB, prefix string) []store.Row {
	tb.Helper()
	return storetest.Rows(tb, l.Table, store.Prefix(prefix))
}

// Forget removes those rows, as an operator or the sweep may.
func (l *Local) Forget(tb testing.TB, prefix string) {
	tb.Helper()
	for _, row := range l.Rows(tb, prefix) {
		if err := l.Table.Delete(tb.Context(), row.Partition, row.Key, row.ETag); err != nil {
			tb.Fatal(err)
		}
	}
}
