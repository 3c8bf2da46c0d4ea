package resource

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/oauth"
)

func TestMetadataNamesResourceAndIssuerExactly(t *testing.T) {
	w := httptest.NewRecorder()
	New(options()).Metadata().ServeHTTP(w, request("GET", metadataURL, "", "Origin", "https://anywhere.example"))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"resource":                 endpoint,
		"authorization_servers":    []any{issuer},
		"scopes_supported":         []any{"email", "openid", "profile"}, // and not offline_access
		"bearer_methods_supported": []any{"header"},
		"resource_name":            "MCP server with Microsoft Entra ID",
		"resource_documentation":   issuer + "/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for header, value := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*",
	} {
		if w.Header().Get(header) != value {
			t.Errorf("%s: %s", header, w.Header().Get(header))
		}
	}
}

func TestMetadataMethods(t *testing.T) {
	for method, status := range map[string]int{"GET": 200, "HEAD": 200, "OPTIONS": 204, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		New(options()).Metadata().ServeHTTP(w, request(method, metadataURL, ""))
		if w.Code != status {
			t.Errorf("%s: %d", method, w.Code)
		}
		if status == http.StatusMethodNotAllowed && w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: Allow: %s", method, w.Header().Get("Allow"))
		}
	}
}

func TestMetadataURLStandsBetweenHostAndPath(t *testing.T) {
	for resource, want := range map[string]string{
		"http://localhost:7071/mcp": "http://localhost:7071/.well-known/oauth-protected-resource/mcp",
		"https://x.example/a/mcp":   "https://x.example/.well-known/oauth-protected-resource/a/mcp",
	} {
		o := options()
		o.Resource = oauth.Resource(resource)
		if got := New(o).metadataURL; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestMetadataIsServedWhereverClientsLook(t *testing.T) {
	for resource, want := range map[string]string{
		"https://x.example/mcp":     " /mcp",
		"https://x.example/a/b/mcp": " /a/b /a/b/mcp /mcp",
	} {
		o := options()
		o.Resource = oauth.Resource(resource)
		var got []string
		for _, path := range New(o).MetadataPaths() {
			got = append(got, strings.TrimPrefix(path, wellKnown))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", resource, strings.Join(got, " "), want)
		}
	}
}
