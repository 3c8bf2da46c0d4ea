package handler_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/store"
)

// TestAFloodFromOneAddressIsRefusedAndItsCallersAreNot: every way in that needs
// no token counts against the sender's address, and calls with a valid token
// from that very address do not. None of it writes a row.
func TestAFloodFromOneAddressIsRefusedAndItsCallersAreNot(t *testing.T) {
	settings := maps.Clone(entraCallersOn)
	settings["REQUESTS_PER_ADDRESS"] = "200/4s"
	w := newEntraWorld(t, settings)
	token := w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}})
	if status, body := w.call(token, "caller"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	send := func(method, path, authorization string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, mcpIssuer+path, strings.NewReader("grant_type=x"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		return rec
	}
	rows := func() int {
		page, err := w.table.List(t.Context(), store.Prefix(""), "")
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Rows)
	}
	send(http.MethodGet, "/account", "") // the first page makes the first key
	before := rows()
	// More than the address may send within the seconds that this takes.
	refused := make(chan int, 2000)
	var flood sync.WaitGroup
	for range 2000 {
		flood.Go(func() {
			if send(http.MethodPost, "/mcp", "").Code == http.StatusTooManyRequests {
				refused <- 1
			}
		})
	}
	flood.Wait()
	if len(refused) < 1000 {
		t.Errorf("of 2000 requests without a token %d were refused", len(refused))
	}
	var asked sync.WaitGroup
	for _, way := range []struct{ method, path, authorization string }{
		{"POST", "/mcp", ""},
		{"POST", "/mcp/", "Bearer made.up.token"},
		{"GET", "/mcp", "Basic Og=="},
		{"POST", "/register", ""},
		{"GET", "/authorize?client_id=x", ""},
		{"POST", "/consent", ""},
		{"GET", "/auth/callback?state=x", ""},
		{"POST", "/token", ""},
		{"POST", "/revoke", ""},
		{"GET", "/account", ""},
		{"GET", "/.well-known/oauth-authorization-server", ""},
		{"GET", "/.well-known/oauth-protected-resource/mcp", ""},
		{"GET", "/wp-login.php", ""},
	} {
		// So many at once that the budget, which fills up meanwhile, cannot do.
		got := make(chan int, 200)
		for range 200 {
			asked.Go(func() { got <- send(way.method, way.path, way.authorization).Code })
		}
		asked.Go(func() {
			limited := 0
			for range 200 {
				if <-got == http.StatusTooManyRequests {
					limited++
				}
			}
			if limited < 100 {
				t.Errorf("%s %s: %d of 200 are limited", way.method, way.path, limited)
			}
		})
	}
	for _, path := range []string{"/healthz", "/"} {
		if rec := send(http.MethodGet, path, ""); rec.Code != http.StatusOK {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	for range 50 {
		if status, body := w.call(token, "caller"); status != http.StatusOK {
			t.Fatalf("a call with a token beside the flood: %d %s", status, body)
		}
	}
	asked.Wait()
	if after := rows(); after != before {
		t.Errorf("the flood has written %d rows", after-before)
	}
}

// TestARefusedFloodLosesNothing: a person or an app that is refused because of a flood
// from the same address loses nothing: the browser loads the callback again, and the app
// sends its code again. A refresh is not refused at all.
func TestARefusedFloodLosesNothing(t *testing.T) {
	w := newEntraWorld(t, map[string]string{"REQUESTS_PER_ADDRESS": "20/1h"})
	flooded, other := w.from("198.51.100.1"), w.from("203.0.113.1")
	for range 20 {
		flooded.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, mcpIssuer+"/wp-login.php", nil))
	}
	twice := func(what string, ask func(to http.Handler) int, want int) {
		t.Helper()
		if ask(flooded) != http.StatusTooManyRequests {
			t.Fatalf("%s is not refused", what)
		}
		if ask(other) != want {
			t.Fatalf("%s is lost", what)
		}
	}
	a, back := w.signIn(other, tenant.Alice)
	var code string
	twice("the callback", func(to http.Handler) int {
		rec := a.get(to, back)
		if location, err := url.Parse(rec.Header().Get("Location")); err == nil {
			code = location.Query().Get("code")
		}
		return rec.Code
	}, http.StatusSeeOther)
	twice("the code", func(to http.Handler) int {
		return a.token(to, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {mcpVerifier}, "redirect_uri": {mcpRedirect}})
	}, http.StatusOK)
	if a.renew(flooded) != http.StatusOK {
		t.Error("a refresh token of ours is not told from a stranger's")
	}
	// Refreshes that fail have a budget, too.
	if err := w.Change(tenant.Alice, func(u *tenant.User) { u.Disabled = true }); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Hour) // else an earlier answer is repeated
	limited := false
	for range 25 {
		limited = limited || a.renew(flooded) == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("refreshes that fail are not limited")
	}
}
