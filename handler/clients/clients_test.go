package clients

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const (
	testIssuer = "https://mcp.example.com"
	testToken  = testIssuer + "/token"
)

var errStorage = errors.New("storage is away")

func openTable(tb testing.TB) store.Table { return storetest.Embedded(tb) }

func newRegistry(tb testing.TB, o Options) *Registry {
	tb.Helper()
	if o.Table == nil {
		o.Table = openTable(tb)
	}
	if o.Issuer == "" {
		o.Issuer, o.TokenEndpoint = testIssuer, testToken
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func lookup(tb testing.TB, r *Registry, id string) Client {
	tb.Helper()
	c, err := r.Lookup(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func policyOf(tb testing.TB, patterns ...string) RedirectPolicy {
	tb.Helper()
	p, err := NewRedirectPolicy(patterns...)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func hostsOf(tb testing.TB, hosts ...string) Hosts {
	tb.Helper()
	h, err := ParseHosts(hosts...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func register(tb testing.TB, r *Registry, body string) Registration {
	tb.Helper()
	reg, err := r.Register(context.Background(), "application/json", strings.NewReader(body))
	if err != nil {
		tb.Fatalf("register %s: %v", body, err)
	}
	return reg
}

func wantCode(tb testing.TB, err error, code oauth.Code) *oauth.Error {
	tb.Helper()
	var refusal *oauth.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Fatalf("got error %v, want %s", err, code)
	}
	return refusal
}

func asJSON(tb testing.TB, v any) string {
	tb.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func countRows(tb testing.TB, table store.Table, prefix string) int {
	tb.Helper()
	return len(storetest.Rows(tb, table, store.Prefix(prefix)))
}

// remove removes a row whatever its version.
func remove(table store.Table, partition, key string) error {
	row, err := table.Get(context.Background(), partition, key)
	if err != nil {
		return err
	}
	return table.Delete(context.Background(), row.Partition, row.Key, row.ETag)
}
