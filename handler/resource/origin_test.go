package resource

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/oauth"
)

// TestARefusedPageOrNameCallsNothing: the refusal is not only said.
func TestARefusedPageOrNameCallsNothing(t *testing.T) {
	called := false
	h := New(options()).Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	foreignPage := request("POST", endpoint, rpc("ping", ""), "Authorization", "Bearer good", "Origin", "https://evil.example")
	reboundName := request("POST", endpoint, rpc("ping", ""), "Authorization", "Bearer good")
	reboundName.Host = "evil.example"
	for name, r := range map[string]*http.Request{"foreign page": foreignPage, "rebound name": reboundName} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || called {
			t.Errorf("%s: got %d, called %v", name, w.Code, called)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("POST", endpoint, rpc("ping", ""), "Authorization", "Bearer good"))
	if !called {
		t.Errorf("and our own: %d", w.Code)
	}
}

func TestOriginIsCheckedOnEveryMethod(t *testing.T) {
	for _, method := range append([]string{"OPTIONS"}, methods...) {
		w := do(options(), request(method, endpoint, "", "Authorization", "Bearer good", "Origin", "https://evil.example"))
		if w.Code != http.StatusForbidden || challenges(w) != "" || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %d %v", method, w.Code, w.Header())
		}
	}
}

func TestOrigins(t *testing.T) {
	for name, test := range map[string]struct {
		resource oauth.Resource
		origin   []string
		ok       bool
	}{
		"our own":                      {endpoint, []string{"https://mcp.example.com"}, true},
		"our own, default port":        {endpoint, []string{"https://mcp.example.com:443"}, true},
		"ours, another port":           {endpoint, []string{"https://mcp.example.com:8443"}, false},
		"default port without TLS":     {"http://mcp.internal/mcp", []string{"http://mcp.internal:80"}, true},
		"ours without TLS":             {endpoint, []string{"http://mcp.example.com"}, false},
		"allowed":                      {endpoint, []string{"https://app.example.org"}, true},
		"allowed host, another scheme": {endpoint, []string{"http://app.example.org"}, false},
		"below an allowed one":         {endpoint, []string{"https://x.app.example.org"}, false},
		"ends like an allowed one":     {endpoint, []string{"https://evilapp.example.org"}, false},
		"begins like an allowed one":   {endpoint, []string{"https://app.example.org.evil.example"}, false},
		"allowed as user name":         {endpoint, []string{"https://app.example.org@evil.example"}, false},
		"opaque":                       {endpoint, []string{"null"}, false},
		"empty":                        {endpoint, []string{""}, false},
		"two":                          {endpoint, []string{"https://mcp.example.com", "https://mcp.example.com"}, false},
		"two in one":                   {endpoint, []string{"https://mcp.example.com https://evil.example"}, false},
		"loopback page, public server": {endpoint, []string{"http://localhost:6274"}, false},
		"loopback page, local server":  {"http://localhost:7071/mcp", []string{"http://localhost:6274"}, true},
		"the same over TLS":            {"http://localhost:7071/mcp", []string{"https://localhost:6274"}, true},
		"loopback address":             {"http://localhost:7071/mcp", []string{"http://127.0.0.1:6274"}, true},
		"loopback IPv6":                {"http://127.0.0.1:7071/mcp", []string{"http://[::1]:6274"}, true},
		"like loopback, local server":  {"http://localhost:7071/mcp", []string{"http://localhost.evil.example"}, false},
		"name with a loopback address": {"http://localhost:7071/mcp", []string{"http://127.0.0.1.evil.example"}, false},
		"foreign page, local server":   {"http://localhost:7071/mcp", []string{"https://evil.example"}, false},
		"another scheme, local server": {"http://localhost:7071/mcp", []string{"file://localhost"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Resource = test.resource
			o.AllowedOrigins = []string{"https://app.example.org"}
			r := request("POST", string(test.resource), "", "Authorization", "Bearer good")
			r.Header["Origin"] = test.origin
			w := do(o, r)
			if got := w.Code == http.StatusOK; got != test.ok {
				t.Fatalf("got %d", w.Code)
			}
			if test.ok && w.Header().Get("Access-Control-Allow-Origin") != test.origin[0] {
				t.Error(w.Header())
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for name, test := range map[string]struct {
		host string
		ok   bool
	}{
		"ours":                        {"mcp.example.com", true},
		"ours with a port":            {"mcp.example.com:443", true},
		"ours in capitals":            {"MCP.Example.com", true},
		"allowed beside":              {"func.azurewebsites.net", true},
		"rebound name":                {"evil.example", false},
		"rebound name with our port":  {"evil.example:7071", false},
		"name that looks like ours":   {"mcp.example.com.evil.example", false},
		"name that looks loopback":    {"127.0.0.1.evil.example", false},
		"name below localhost":        {"evil.localhost.example", false},
		"the host process, loopback":  {"127.0.0.1:40123", true},
		"the host process, IPv6":      {"[::1]:40123", true},
		"the host process, localhost": {"localhost:40123", true},
		"none":                        {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.AllowedHosts = []string{"func.azurewebsites.net"}
			r := request("POST", "/mcp", "", "Authorization", "Bearer good")
			r.Host = test.host
			if w := do(o, r); (w.Code == http.StatusOK) != test.ok {
				t.Errorf("got %d", w.Code)
			}
		})
	}
}

func TestPreflightNeedsNoToken(t *testing.T) {
	asked := []string{"Origin", issuer, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,mcp-param-city, Mcp-Param-Zip_Code,traceparent"}
	for name, tt := range map[string]struct {
		inAzure bool
		handler func(*Guard) http.Handler
		want    http.Header
	}{
		"endpoint": {false, func(g *Guard) http.Handler { return g.Protect(reached) }, http.Header{
			"Allow":                         {"POST, GET, DELETE, OPTIONS"},
			"Vary":                          {"Origin", "Access-Control-Request-Headers"},
			"Access-Control-Allow-Origin":   {issuer},
			"Access-Control-Allow-Methods":  {"POST, GET, DELETE, OPTIONS"},
			"Access-Control-Allow-Headers":  {"authorization, mcp-param-city, Mcp-Param-Zip_Code, traceparent"},
			"Access-Control-Expose-Headers": {"WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Correlation-Id"},
			"Access-Control-Max-Age":        {"3600"},
		}},
		"metadata": {false, (*Guard).Metadata, http.Header{
			"Allow":                        {"GET, HEAD, OPTIONS"},
			"Vary":                         {"Access-Control-Request-Headers"},
			"Access-Control-Allow-Origin":  {"*"},
			"Access-Control-Allow-Methods": {"GET, HEAD, OPTIONS"},
			"Access-Control-Allow-Headers": {"authorization, mcp-param-city, Mcp-Param-Zip_Code, traceparent"},
			"Access-Control-Max-Age":       {"3600"},
		}},
		"endpoint in Azure": {true, func(g *Guard) http.Handler { return g.Protect(reached) }, http.Header{
			"Allow":                         {"POST, OPTIONS"},
			"Vary":                          {"Origin"},
			"Access-Control-Expose-Headers": {"WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Correlation-Id"},
		}},
		"metadata in Azure": {true, (*Guard).Metadata, http.Header{"Allow": {"GET, HEAD, OPTIONS"}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.InAzure = tt.inAzure
			w := httptest.NewRecorder()
			tt.handler(New(o)).ServeHTTP(w, request("OPTIONS", endpoint, "", asked...))
			if diff := cmp.Diff(tt.want, w.Header()); diff != "" || w.Code != http.StatusNoContent {
				t.Error(w.Code, diff)
			}
		})
	}
}

// TestOptionsWithoutAPageIsAnswered: it is no preflight, and no CORS header
// belongs in the answer.
func TestOptionsWithoutAPageIsAnswered(t *testing.T) {
	w := do(options(), request("OPTIONS", endpoint, ""))
	if diff := cmp.Diff(http.Header{"Allow": {"POST, OPTIONS"}, "Vary": {"Origin"}}, w.Header()); diff != "" || w.Code != http.StatusNoContent {
		t.Error(w.Code, diff)
	}
}

func TestAzureAddsTheCORSHeaderItself(t *testing.T) {
	o := options()
	o.InAzure = true
	g := New(o)
	for _, handler := range []http.Handler{g.Protect(reached), g.Metadata()} {
		for _, method := range []string{"OPTIONS", "POST", "GET"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, request(method, endpoint, "", "Authorization", "Bearer good", "Origin", issuer))
			if got := w.Header().Values("Access-Control-Allow-Origin"); got != nil {
				t.Errorf("%s: %v", method, got)
			}
		}
	}
	if w := do(o, request("POST", endpoint, "", "Origin", issuer)); w.Header().Get("Access-Control-Expose-Headers") == "" {
		t.Error("pages cannot read the challenge")
	}
}
