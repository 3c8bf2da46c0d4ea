package home

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var example = server{name: "contoso-tools", title: "Contoso Tools & More", endpoint: "https://mcp.contoso.com/mcp"}

func button(t *testing.T, s server, client string) *url.URL {
	t.Helper()
	for _, b := range s.buttons() {
		if b.Client == client {
			u, err := url.Parse(b.URL)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
	}
	return nil
}

// TestLinksAreWhatEachClientDecodes follows the published format of each link:
// where the configuration stands, how it is encoded, and what it holds.
func TestLinksAreWhatEachClientDecodes(t *testing.T) {
	unescaped := func(u *url.URL) string {
		text, err := url.PathUnescape(u.RawQuery)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	decode64 := func(u *url.URL) string {
		b, err := base64.StdEncoding.DecodeString(u.Query().Get("config"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	parameter := func(name string) func(*url.URL) string {
		return func(u *url.URL) string { return u.Query().Get(name) }
	}
	for _, tt := range []struct {
		client, prefix string
		read           func(*url.URL) string
		want           string
	}{
		{"VS Code", "https://vscode.dev/redirect/mcp/install?name=contoso-tools&config=%7B", parameter("config"), `{"type":"http","url":"https://mcp.contoso.com/mcp"}`},
		{"VS Code Insiders", "https://insiders.vscode.dev/redirect/mcp/install?", parameter("config"), `{"type":"http","url":"https://mcp.contoso.com/mcp"}`},
		{"Cursor", "https://cursor.com/en/install-mcp?name=contoso-tools&config=", decode64, `{"url":"https://mcp.contoso.com/mcp"}`},
		{"Claude", "https://claude.ai/customize/connectors?modal=add-custom-connector&", parameter("connectorUrl"), "https://mcp.contoso.com/mcp"},
		{"Claude", "https://claude.ai/", parameter("connectorName"), "Contoso Tools & More"},
		{"Visual Studio", "vsweb+mcp:/install?%7B", unescaped, `{"name":"contoso-tools","type":"http","url":"https://mcp.contoso.com/mcp"}`},
		{"Goose", "goose://extension?type=streamable_http&", parameter("url"), "https://mcp.contoso.com/mcp"},
		{"LM Studio", "lmstudio://add_mcp?name=contoso-tools&config=", decode64, `{"url":"https://mcp.contoso.com/mcp"}`},
	} {
		u := button(t, example, tt.client)
		if u == nil || !strings.HasPrefix(u.String(), tt.prefix) {
			t.Errorf("%s: %v, want it to begin with %s", tt.client, u, tt.prefix)
			continue
		}
		if got := tt.read(u); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.client, got, tt.want)
		}
		if strings.ContainsAny(u.RawQuery, "+ \"{}") {
			t.Errorf("%s: characters that are not escaped in %s", tt.client, u.RawQuery)
		}
	}
}

func TestCloudClientsAreNotSentToThisComputer(t *testing.T) {
	const why = "cannot reach a server on this computer"
	here := newHome(t, func(o *Options) { o.Endpoint = "http://localhost:7071/mcp" })
	if !strings.Contains(get(here, http.MethodGet).Body.String(), why) || strings.Contains(get(newHome(t, nil), http.MethodGet).Body.String(), why) {
		t.Error("the page says nothing of why Claude is not on it, or says so where it is")
	}

	local := server{name: "local", title: "Local", endpoint: "http://localhost:7071/mcp"}
	if button(t, local, "Claude") != nil || button(t, example, "Claude") == nil {
		t.Error("Claude's cloud connects itself, and cannot to localhost")
	}
	for _, r := range local.recipes() {
		if r.Client == "ChatGPT" {
			t.Error("ChatGPT cannot connect to localhost")
		}
		if strings.Contains(r.Text, "mcp-remote") && !strings.Contains(r.Text, "--allow-http") {
			t.Error("mcp-remote refuses http unless told to")
		}
	}
}

func TestRecipesThatAreJSONAreValidAndNameTheEndpoint(t *testing.T) {
	for _, r := range example.recipes() {
		if strings.HasPrefix(r.Text, "{") && !json.Valid([]byte(r.Text)) {
			t.Errorf("%s: %s", r.Client, r.Text)
		}
		if !strings.Contains(r.Text+r.Then, example.endpoint) {
			t.Errorf("%s does not name the endpoint", r.Client)
		}
		if r.Where == "" || strings.Contains(r.Text, "\n") {
			t.Errorf("%s: %+v", r.Client, r)
		}
	}
}
