package home

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"entramcp/handler/pages"
	"entramcp/handler/toolkit"
)

func newHome(t *testing.T, change func(*Options)) *Home {
	t.Helper()
	o := Options{
		About:    toolkit.About{Name: "contoso-tools", Title: "Contoso Tools", Description: "What it is for."},
		Pages:    pages.New(pages.Brand{Title: "Contoso Tools", Support: "help@contoso.com"}),
		Endpoint: "https://mcp.contoso.com/mcp", Version: "1.2.3",
		Tools: []toolkit.ToolDescription{{Name: "hello", Description: "Say hello."}},
	}
	if change != nil {
		change(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, method string, accept ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	for _, a := range accept {
		r.Header.Add("Accept", a)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestThePageNamesEndpointToolsAndClients(t *testing.T) {
	body := get(newHome(t, nil), http.MethodGet).Body.String()
	for _, want := range []string{"Contoso Tools", "What it is for.", "https://mcp.contoso.com/mcp", "Say hello.", "https://vscode.dev/redirect/mcp/install", "claude mcp add --transport http contoso-tools", "mailto:help@contoso.com", "1.2.3"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(body, "#blocked") || strings.Contains(body, "Zgotmpl") {
		t.Error("a link is blocked")
	}
}

// TestClientsThatWereGivenTheOriginLearnTheEndpoint: they post to it, and then
// wait for events there.
func TestClientsThatWereGivenTheOriginLearnTheEndpoint(t *testing.T) {
	h := newHome(t, nil)
	for name, tt := range map[string]struct {
		method string
		accept []string
		status int
	}{
		"browser":              {http.MethodGet, []string{"text/html,application/xhtml+xml,*/*;q=0.8"}, 200},
		"host's probe":         {http.MethodGet, nil, 200},
		"curl":                 {http.MethodGet, []string{"*/*"}, 200},
		"head":                 {http.MethodHead, nil, 200},
		"waits for events":     {http.MethodGet, []string{"text/event-stream"}, 406},
		"wants JSON or events": {http.MethodGet, []string{"application/json", "text/event-stream"}, 406},
		"posts":                {http.MethodPost, []string{"application/json, text/event-stream"}, 405},
		"deletes":              {http.MethodDelete, nil, 405},
	} {
		w := get(h, tt.method, tt.accept...)
		if w.Code != tt.status {
			t.Errorf("%s: %d, want %d", name, w.Code, tt.status)
		}
		if tt.status > 400 && !strings.Contains(w.Body.String(), "https://mcp.contoso.com/mcp") {
			t.Errorf("%s: %s does not name the endpoint", name, w.Body)
		}
		if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow %q", name, w.Header().Get("Allow"))
		}
	}
}

func TestDocumentsForMachines(t *testing.T) {
	routes := newHome(t, func(o *Options) {
		o.RegistryProof, o.AppsChallenge = "v=MCPv1; k=ed25519; p=AAAA", "challenge"
		o.About.Description = strings.Repeat("ü", 200)
	}).Routes()
	for path, want := range map[string]struct{ mediaType, body string }{
		"/mcp/server-card": {"application/mcp-server-card+json", `{"$schema":"https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json","name":"com.contoso.mcp/contoso-tools","title":"Contoso Tools","version":"1.2.3","description":"` +
			strings.Repeat("ü", 99) + `…","remotes":[{"type":"streamable-http","url":"https://mcp.contoso.com/mcp"}]}`},
		"/.well-known/mcp/catalog.json":      {"application/json", `{"specVersion":"1.0","entries":[{"identifier":"urn:air:mcp.contoso.com:contoso-tools","displayName":"Contoso Tools","type":"application/mcp-server-card+json","url":"https://mcp.contoso.com/mcp/server-card"}]}`},
		"/.well-known/mcp-registry-auth":     {"text/plain; charset=utf-8", "v=MCPv1; k=ed25519; p=AAAA"},
		"/.well-known/openai-apps-challenge": {"text/plain; charset=utf-8", "challenge"},
	} {
		h, ok := routes[path]
		if !ok {
			t.Errorf("%s is not served", path)
			continue
		}
		w := get(h, http.MethodGet)
		if w.Body.String() != want.body || w.Header().Get("Content-Type") != want.mediaType {
			t.Errorf("%s: %s %s, want %s", path, w.Header().Get("Content-Type"), w.Body, want.body)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(w.Header().Get("Cache-Control"), "public") {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	if len(newHome(t, nil).Routes()) != 2 {
		t.Error("a proof that the operator has not set is served")
	}
}

func TestTheRegistryEntryNamesTheRemote(t *testing.T) {
	var out bytes.Buffer
	if err := WriteRegistryEntry(&out, Options{About: toolkit.About{Name: "tools", Title: "Tools"}, Endpoint: "https://mcp.contoso.com/mcp", Version: "1.2.3"}); err != nil {
		t.Fatal(err)
	}
	var entry struct {
		Name, Version, Description string
		Remotes                    []remote
	}
	if err := json.Unmarshal(out.Bytes(), &entry); err != nil {
		t.Fatal(err)
	}
	if entry.Name != "com.contoso.mcp/tools" || entry.Version != "1.2.3" || entry.Description == "" || !slices.Equal(entry.Remotes, []remote{{"streamable-http", "https://mcp.contoso.com/mcp"}}) {
		t.Errorf("%+v", entry)
	}
}
