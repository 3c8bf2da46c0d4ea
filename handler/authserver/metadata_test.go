package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/authserver"
)

var metadataPaths = []string{
	"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp",
	"/mcp/.well-known/oauth-authorization-server",
}

func TestMetadataIsIdenticalWhereverClientsLook(t *testing.T) {
	w := newWorld(t)
	first := text(t, w.browser().get(issuer+metadataPaths[0]))
	for _, path := range metadataPaths {
		for _, p := range []string{path, path + "/"} {
			resp := w.browser().get(issuer + p)
			wantStatus(t, resp, http.StatusOK)
			if got := text(t, resp); got != first {
				t.Errorf("%s differs:\n%s", p, cmp.Diff(first, got))
			}
			if got := resp.Header.Get("Cache-Control"); got != "public, max-age=300" {
				t.Errorf("%s: Cache-Control %q", p, got)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("%s: Content-Type %q", p, got)
			}
			wantStatus(t, w.serve(httptest.NewRequest(http.MethodHead, issuer+p, nil)), http.StatusOK)
		}
	}
}

// Clients that ask for the metadata of an OpenID provider and find some that are
// not complete give up; without any they go on.
func TestThereIsNoOpenIDProvider(t *testing.T) {
	w := newWorld(t)
	const form = "/.well-known/openid-configuration"
	for _, path := range []string{form, form + "/", form + "/mcp", "/mcp" + form} {
		wantStatus(t, w.browser().get(issuer+path), http.StatusNotFound)
	}
}

func TestMetadataSaysWhatMCPClientsRequire(t *testing.T) {
	got := object(t, newWorld(t).browser().get(issuer+metadataPaths[0]))
	want := map[string]any{}
	if err := json.Unmarshal([]byte(`{
		"issuer": "https://mcp.example.com",
		"authorization_endpoint": "https://mcp.example.com/authorize",
		"token_endpoint": "https://mcp.example.com/token",
		"registration_endpoint": "https://mcp.example.com/register",
		"revocation_endpoint": "https://mcp.example.com/revoke",
		"introspection_endpoint": "https://mcp.example.com/introspect",
		"scopes_supported": ["email", "offline_access", "openid", "profile", "tasks"],
		"response_types_supported": ["code"],
		"response_modes_supported": ["query"],
		"grant_types_supported": ["authorization_code", "refresh_token"],
		"code_challenge_methods_supported": ["S256"],
		"token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt", "none"],
		"token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
		"revocation_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt", "none"],
		"revocation_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
		"introspection_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
		"introspection_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
		"client_id_metadata_document_supported": true,
		"authorization_response_iss_parameter_supported": true,
		"request_parameter_supported": false,
		"request_uri_parameter_supported": false,
		"protected_resources": ["https://mcp.example.com/mcp"]
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMetadataAnnouncesOnlyWhatIsServed(t *testing.T) {
	w := newWorld(t)
	for member, value := range object(t, w.browser().get(issuer+metadataPaths[0])) {
		if !strings.HasSuffix(member, "_endpoint") {
			continue
		}
		path := strings.TrimPrefix(value.(string), issuer)
		served := slices.ContainsFunc(w.server.Routes(), func(r authserver.Route) bool { return r.Path == path && r.Method != http.MethodOptions })
		if !served {
			t.Errorf("%s announces %s, which no route serves", member, path)
		}
	}
}

func TestClientsInABrowserMayCallFromAnyOrigin(t *testing.T) {
	w := newWorld(t)
	for _, path := range append([]string{"/token", "/register", "/revoke", "/introspect"}, metadataPaths...) {
		r := httptest.NewRequest(http.MethodOptions, issuer+path, nil)
		r.Header.Set("Access-Control-Request-Headers", "authorization, mcp-protocol-version, x-any")
		resp := w.serve(r)
		wantStatus(t, resp, http.StatusNoContent)
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Headers") != "authorization, mcp-protocol-version, x-any" ||
			!strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "OPTIONS") || resp.Header.Get("Access-Control-Max-Age") == "" {
			t.Errorf("%s: preflight answers %v", path, resp.Header)
		}
		if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s allows credentials", path)
		}
	}
	if h := w.post("/token", nil).Header; h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Expose-Headers") != "WWW-Authenticate, Retry-After" {
		t.Errorf("a refusal cannot be read: %v", h)
	}
	for _, path := range []string{"/authorize", "/consent", "/auth/callback"} {
		if got := w.browser().get(issuer + path).Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s is open to other origins: %q", path, got)
		}
	}
}

func TestInAzureThePlatformAnswersCORS(t *testing.T) {
	w := newWorld(t, func(o *authserver.Options) { o.InAzure = true })
	if got := w.browser().get(issuer + metadataPaths[0]).Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a second Access-Control-Allow-Origin: %q", got)
	}
}

// With a path in PUBLIC_URL others answer on the same host.
func TestBehindAGatewayEverythingCarriesThePath(t *testing.T) {
	w := newWorld(t, func(o *authserver.Options) { o.Issuer, o.Resource = issuer+"/tools", issuer+"/tools/mcp" })
	for _, path := range []string{"/.well-known/oauth-authorization-server/tools", "/.well-known/oauth-authorization-server/tools/mcp", metadataPaths[0]} {
		if got := object(t, w.browser().get(issuer+path)); got["issuer"] != issuer+"/tools" || got["token_endpoint"] != issuer+"/tools/token" {
			t.Errorf("%s says %v", path, got)
		}
	}
	b := w.browser()
	id := w.publicClient()
	for _, resource := range []string{issuer + "/tools/mcp", issuer + "/tools", issuer + "/tools/"} {
		resp := b.get(issuer + "/authorize?" + request(id, "resource", resource).Encode())
		wantStatus(t, resp, http.StatusOK)
		if !strings.Contains(text(t, resp), `action="/tools/consent"`) {
			t.Error("the form goes elsewhere")
		}
		for _, c := range resp.Cookies() {
			if c.Name == "__Host-mcp-csrf" || !strings.HasPrefix(c.Name, "__Host-mcp-") || c.Path != "/" {
				t.Errorf("cookie %s of ours is another server's too", c.Name)
			}
		}
	}
	if resp := b.get(issuer + "/authorize?" + request(id, "resource", issuer).Encode()); !strings.Contains(text(t, resp), "invalid_target") {
		t.Error("the bare origin, which is another server's, passes for ours")
	}
	q := request(id, "resource", "")
	resp := b.decide(b.open(q), "approve", "Origin", issuer)
	wantStatus(t, resp, http.StatusOK)
	if got := b.arrive(strings.Replace(w.upstream.signIn(t, onward(t, resp)), "/tools/", "/", 1)); got.Get("code") == "" || got.Get("iss") != issuer+"/tools" {
		t.Errorf("the client got %v", got)
	}
}
