package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
	"entramcp/handler/store/storetest"
)

const (
	testIssuer = "https://mcp.example.com"
	testToken  = testIssuer + "/token"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func openTable(tb testing.TB) store.Table {
	tb.Helper()
	table, err := embedded.Open(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = table.Close() })
	return table
}

// bothStores runs a test of what instances share on each store there is.
func bothStores(t *testing.T, test func(t *testing.T, table store.Table)) {
	t.Run("Embedded", func(t *testing.T) { test(t, openTable(t)) })
	t.Run("Azurite", func(t *testing.T) {
		table, err := azuretable.New(azuretable.Options{
			ConnectionString: azuretable.ConnectionString(storetest.Azurite(t)),
			Name:             fmt.Sprintf("clients%d", time.Now().UnixNano()),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = table.Close() })
		if err := table.CreateIfMissing(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, table)
	})
}

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

func register(tb testing.TB, r *Registry, body string) Registration {
	tb.Helper()
	reg, err := r.Register(context.Background(), strings.NewReader(body))
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
	n := 0
	for cursor := store.Cursor(""); ; {
		page, err := table.List(context.Background(), store.Prefix(prefix), cursor)
		if err != nil {
			tb.Fatal(err)
		}
		if n += len(page.Rows); page.Next == "" {
			return n
		}
		cursor = page.Next
	}
}
