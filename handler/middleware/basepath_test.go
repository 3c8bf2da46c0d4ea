package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAGatewayMayStripThePathOrKeepIt(t *testing.T) {
	for asked, want := range map[string]string{
		"/mcp":                "/mcp",
		"/tools/mcp":          "/mcp",
		"/tools/mcp?a=/tools": "/mcp?a=/tools",
		"/tools":              "/",
		"/tools/":             "/",
		"/tools/tools/mcp":    "/tools/mcp",
		"/toolsmith/mcp":      "/toolsmith/mcp",
		"/tools/a%2Fb":        "/a%2Fb",
		"/.well-known/oauth-protected-resource/tools/mcp": "/.well-known/oauth-protected-resource/tools/mcp",
	} {
		var got string
		r := httptest.NewRequest("GET", "https://gw.example"+asked, nil)
		BasePath("/tools", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.RequestURI() })).ServeHTTP(httptest.NewRecorder(), r)
		if got != want {
			t.Errorf("%s: got %s, want %s", asked, got, want)
		}
		if r.URL.RequestURI() != asked {
			t.Errorf("the caller's own request was changed to %s", r.URL)
		}
	}
}
