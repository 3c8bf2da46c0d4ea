package handler_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// from is the server as a client at that address reaches it.
func (w *entraWorld) from(address string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = address + ":1234"
		w.server.ServeHTTP(rw, r)
	})
}

// TestLimitsByAddressAreTheOperators: each setting bounds what it names, for one
// address, and the refusal has a Retry-After.
func TestLimitsByAddressAreTheOperators(t *testing.T) {
	const elsewhere = "203.0.113.1"
	for setting, attempt := range map[string]func(w *entraWorld) func(address string) *httptest.ResponseRecorder{
		"REQUESTS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			a := &app{entraWorld: w}
			return func(address string) *httptest.ResponseRecorder {
				return a.send(w.from(address), httptest.NewRequest(http.MethodPost, mcpIssuer+"/mcp", nil))
			}
		},
		"REGISTRATIONS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			a, n := &app{entraWorld: w}, 0
			return func(address string) *httptest.ResponseRecorder {
				n++
				r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/register", strings.NewReader(fmt.Sprintf(
					`{"client_name":"app %d","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none"}`, n)))
				r.Header.Set("Content-Type", "application/json")
				return a.send(w.from(address), r)
			}
		},
		"SIGN_INS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			a := w.register(w.from(elsewhere), mcpRedirect, map[string]any{"token_endpoint_auth_method": "none"})
			return func(address string) *httptest.ResponseRecorder {
				return a.form(w.from(address), "/consent", a.approval(w.from(elsewhere)))
			}
		},
		"FETCHES_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			a, n := &app{entraWorld: w, redirect: mcpRedirect}, 0
			return func(address string) *httptest.ResponseRecorder {
				n++
				a.id = fmt.Sprintf("https://localhost/client%d.json", n)
				return a.get(w.from(address), a.request())
			}
		},
		"FAILED_ASSERTIONS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			a := w.registerKey(w.from(elsewhere), newKey(w.t))
			another := newKey(w.t)
			return func(address string) *httptest.ResponseRecorder {
				form := a.assertion(another)
				form["grant_type"], form["refresh_token"] = []string{"refresh_token"}, []string{"x"}
				return a.form(w.from(address), "/token", form)
			}
		},
	} {
		t.Run(setting, func(t *testing.T) {
			w := newEntraWorld(t, map[string]string{setting: "2/1h"})
			try := attempt(w)
			for range 2 {
				if got := try("192.0.2.1"); got.Code == http.StatusTooManyRequests {
					t.Fatalf("within the limit: %d %s", got.Code, got.Body)
				}
			}
			if got := try("192.0.2.1"); got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") == "" {
				t.Errorf("beyond the limit: %d %v %s", got.Code, got.Header(), got.Body)
			}
			if got := try("198.51.100.1"); got.Code == http.StatusTooManyRequests {
				t.Errorf("another address: %d %s", got.Code, got.Body)
			}
		})
	}
}
