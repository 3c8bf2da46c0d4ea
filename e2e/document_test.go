package e2e

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"entramcp/e2e/stack"
)

// TestAPublishedDocumentIsFetchedOnce: the server as a process fetches a client's
// metadata document over TLS and keeps it; the client registers nothing.
func TestAPublishedDocumentIsFetchedOnce(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int32
	host := httptest.NewUnstartedServer(nil)
	host.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprintf(w, `{"client_id": "https://%s%s", "client_name": "Published", "redirect_uris": ["http://localhost/callback"],
			"grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none"}`, r.Host, r.URL.Path)
	})
	host.StartTLS()
	t.Cleanup(host.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate().Raw})
	if err := os.WriteFile(roots, certificate, 0o600); err != nil {
		t.Fatal(err)
	}

	s := stack.Start(t, stack.Options{Env: map[string]string{"SSL_CERT_FILE": roots}})
	settings := clientSettings{URL: s.MCP(), ClientMetadataURL: host.URL + "/mcp.json"}
	for name, client := range map[string]*scriptedClient{
		"typescript-1": startNode(t, "sdk-v1", settings),
		"typescript-2": startNode(t, "sdk-v2", settings),
		"python-1":     startPython(t, 1, settings),
		"python-2":     startPython(t, 2, settings),
	} {
		client.connect(stack.NewBrowser(stack.Alice))
		if got := client.call("greet", map[string]any{"name": "Ada"}); got != greeting {
			t.Errorf("%s: %q", name, got)
		}
		client.must(map[string]any{"do": "refresh"})
	}
	if got := fetched.Load(); got != 1 {
		t.Errorf("the document was fetched %d times", got)
	}
}
