package handler_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/config"
)

// TestStorageOperationsOfOneSignIn holds what a sign-in costs, through the whole
// server: registration, consent, Entra's answer, tokens, refresh and calls.
func TestStorageOperationsOfOneSignIn(t *testing.T) {
	w := newEntraWorld(t, map[string]string{"REFRESH_GRACE": "1s"})
	promised := map[string]int{"/register": 8, "/authorize": 9} // of an instance that has just started: keys, what is revoked and blocked
	server := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		before := w.table.Count()
		w.server.ServeHTTP(rw, r)
		if n, most := w.table.Count()-before, promised[r.URL.Path]; n > most {
			t.Errorf("%s: %d storage operations, at most %d are promised", r.URL.Path, n, most)
		}
	})
	a := w.register(server, mcpRedirect, map[string]any{"client_name": "t", "token_endpoint_auth_method": "none"})
	a.approval(server)
	promised = map[string]int{"/authorize": 1, "/consent": 2, "/auth/callback": 5, "/token": 3}
	a.redeem(server, a.get(server, a.approve(server, tenant.Alice)))
	w.call(a.access, "caller") // the list of revocations is read now
	w.clock.Advance(1100 * time.Millisecond)
	promised["/token"] = 2
	if status := a.renew(server); status != http.StatusOK {
		t.Fatalf("the refresh token: %d", status)
	}
	before := w.table.Count()
	for range 50 {
		if status, body := w.call(a.access, "send"); status != http.StatusForbidden {
			t.Fatalf("a tool without its scope: %d %s", status, body)
		}
		if status, body := w.call(a.access, "admin"); status != http.StatusOK {
			t.Fatalf("a tool: %d %s", status, body)
		}
	}
	if n := w.table.Count() - before; n != 0 {
		t.Errorf("%d storage operations in 100 calls", n)
	}
}

// TestEveryRouteHasWhatAllShare: the headers of the whole server, and a reading of
// the path that is one.
func TestEveryRouteHasWhatAllShare(t *testing.T) {
	for _, issuer := range []string{mcpIssuer, "https://mcp.example.com", "https://gw.example/tools"} {
		s := serve(t, "PUBLIC_URL", issuer)
		u, _ := url.Parse(issuer)
		for _, base := range []string{"", u.Path} {
			for path, tt := range map[string]struct {
				method string
				status int
			}{
				"/":                                     {"GET", 200},
				"/mcp":                                  {"POST", 401},
				"/mcp/":                                 {"POST", 401},
				"/healthz":                              {"GET", 200},
				"/register":                             {"POST", 400},
				"/token":                                {"POST", 400},
				"/authorize":                            {"GET", 400},
				"/.well-known/oauth-protected-resource": {"GET", 200},
				"/.well-known/oauth-protected-resource/mcp": {"GET", 200},
				"/.well-known/oauth-authorization-server":   {"GET", 200},
				"/.well-known/openid-configuration":         {"GET", 404},
				"/no-such-page":                             {"GET", 404},
			} {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, httptest.NewRequest(tt.method, u.Scheme+"://"+u.Host+base+path, nil))
				if w.Code != tt.status {
					t.Errorf("%s%s%s: %d, want %d: %s", issuer, base, path, w.Code, tt.status, w.Body)
				}
				if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
					t.Errorf("%s%s: X-Content-Type-Options %q", base, path, got)
				}
				if got := w.Header().Get("Strict-Transport-Security") != ""; got != (u.Scheme == "https") {
					t.Errorf("%s%s%s: HSTS %v", issuer, base, path, got)
				}
				if w.Header().Get("X-Correlation-Id") == "" {
					t.Errorf("%s%s: no correlation id", base, path)
				}
			}
		}
	}
}

// TestTheCallbackCannotTakeAnotherRoute: config knows the routes.
func TestTheCallbackCannotTakeAnotherRoute(t *testing.T) {
	source, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", mcpIssuer+"/.well-known/oauth-authorization-server", nil))
	var document map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	paths := []string{config.MCPPath}
	for member, value := range document {
		if address, ok := value.(string); ok && strings.HasSuffix(member, "_endpoint") {
			paths = append(paths, strings.TrimPrefix(address, mcpIssuer))
		}
	}
	for _, m := range regexp.MustCompile(`= "(/[a-z]+)"`).FindAllStringSubmatch(string(source), -1) {
		paths = append(paths, m[1])
	}
	if len(paths) < 7 {
		t.Fatalf("only %v", paths)
	}
	for _, path := range paths {
		env := map[string]string{"ENTRA_TENANT_ID": "contoso.onmicrosoft.com", "ENTRA_CLIENT_ID": "11111111-2222-3333-4444-555555555555", "ENTRA_CLIENT_SECRET": "x", "REDIRECT_PATH": path}
		if _, err := config.Load(func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), "REDIRECT_PATH") {
			t.Errorf("REDIRECT_PATH=%s: %v", path, err)
		}
	}
}
