package cors

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func preflight(requested string) http.Header {
	r := httptest.NewRequest(http.MethodOptions, "/token", nil)
	r.Header.Set("Access-Control-Request-Headers", requested)
	w := httptest.NewRecorder()
	AnyOriginPreflight("POST, OPTIONS").ServeHTTP(w, r)
	return w.Result().Header
}

func TestAPreflightAllowsEveryHeaderByName(t *testing.T) {
	h := preflight("authorization, x-trace-id,Mcp-Param-City")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "POST, OPTIONS", "Allow": "POST, OPTIONS",
		"Access-Control-Allow-Headers": "authorization, x-trace-id, Mcp-Param-City", "Access-Control-Max-Age": "3600",
		"Vary": "Access-Control-Request-Headers", "Access-Control-Allow-Credentials": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestAPreflightRepeatsNamesOfHeadersOnly(t *testing.T) {
	long := strings.Repeat("x", 65)
	for requested, want := range map[string]string{
		"":                        "",
		"a b, x:y, \"q\", ok":     "ok",
		long + ", ok":             "ok",
		strings.Repeat("a, ", 50): strings.TrimSuffix(strings.Repeat("a, ", 40), ", "),
	} {
		if got := preflight(requested).Get("Access-Control-Allow-Headers"); got != want {
			t.Errorf("%.40q: %q, want %q", requested, got, want)
		}
	}
}

func TestAnswersCanBeReadFromAnyOrigin(t *testing.T) {
	w := httptest.NewRecorder()
	AnyOrigin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })).
		ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/token", nil))
	if h := w.Result().Header; w.Code != http.StatusUnauthorized || h.Get("Access-Control-Allow-Origin") != "*" ||
		h.Get("Access-Control-Expose-Headers") != "WWW-Authenticate, Retry-After" {
		t.Errorf("%d %v", w.Code, h)
	}
}
