package clients

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"entramcp/handler/oauth"
)

func TestDocumentURLRules(t *testing.T) {
	listed := hostsOf(t, "app.example:8443", "claude.ai")
	none := hostsOf(t, "none")
	for _, tt := range []struct {
		url      string
		hosts    Hosts
		loopback bool
		ok       bool
	}{
		{"https://claude.ai/oauth/mcp-oauth-client-metadata", Hosts{}, false, true},
		{"https://claude.ai/oauth/mcp-oauth-client-metadata", listed, false, true},
		{"https://claude.ai:443/client", listed, false, true},
		{"https://vscode.dev/oauth/client-metadata.json", listed, false, false},
		{"https://sub.claude.ai/x", listed, false, false},
		{"https://claude.ai.evil.example/x", listed, false, false},
		{"https://app.example:8443/x", listed, false, true},
		{"https://app.example/x", listed, false, false},
		{"https://claude.ai/x", none, false, false},
		{"https://app.example/x?a=b", Hosts{}, false, true},
		{"https://app.example:443/x", Hosts{}, false, true},
		{"https://app.example:8443/x", Hosts{}, false, false},
		{"https://app.example:22/x", Hosts{}, false, false},
		{"http://app.example/x", Hosts{}, false, false},
		{"https://app.example", Hosts{}, false, false},
		{"https://app.example/", Hosts{}, false, false},
		{"https://user@app.example/x", Hosts{}, false, false},
		{"https://user:pass@app.example/x", Hosts{}, false, false},
		{"https://@app.example/x", Hosts{}, false, false},
		{"https://app.example/x#", Hosts{}, false, false},
		{"https://app.example/x#y", Hosts{}, false, false},
		{"https://app.example/./x", Hosts{}, false, false},
		{"https://app.example/a/../x", Hosts{}, false, false},
		{"https://app.example/a/%2e%2E/x", Hosts{}, false, false},
		{"https://app.example/a/.%2e", Hosts{}, false, false},
		{"https://APP.example/x", Hosts{}, false, false},
		{"HTTPS://app.example/x", Hosts{}, false, false},
		{"https://app.example\\@evil.example/x", Hosts{}, false, false},
		{"https://app.example /x", Hosts{}, false, false},
		{"https:app.example/x", Hosts{}, false, false},
		{"https:///x", Hosts{}, false, false},
		{"https://8.8.8.8/x", Hosts{}, false, false},
		{"https://127.1/x", Hosts{}, false, false},
		{"https://2130706433/x", Hosts{}, false, false},
		{"https://0x7f.1/x", Hosts{}, false, false},
		{"https://127.0.0.0x1/x", Hosts{}, false, false},
		{"https://[2606:4700::1111]/x", Hosts{}, false, false},
		{"https://[fe80::1%25eth0]/x", Hosts{}, false, false},
		{"https://app.example/" + strings.Repeat("x", maxRedirectURI), Hosts{}, false, false},
		{"http://localhost:3000/x", Hosts{}, true, true},
		{"https://127.0.0.1:3000/x", listed, true, true},
		{"http://[::1]:3000/x", Hosts{}, true, true},
		{"http://localhost:3000/x", Hosts{}, false, false},
		{"https://localhost/x", none, true, false},
		{"http://app.example/x", Hosts{}, true, false},
		{"https://10.0.0.1/x", Hosts{}, true, false},
	} {
		if _, err := checkFetchURL(tt.url, tt.hosts, tt.loopback); (err == nil) != tt.ok {
			t.Errorf("%s (loopback %v): %v", tt.url, tt.loopback, err)
		}
	}
}

func TestHostSettingSaysAnyOrNone(t *testing.T) {
	for _, entries := range [][]string{nil, {"*"}} {
		if hosts, err := ParseHosts(entries...); err != nil || !hosts.allows("any.example") {
			t.Errorf("%q: %v", entries, err)
		}
	}
	for _, entry := range []string{"none", "OFF"} {
		if hosts, err := ParseHosts(entry); err != nil || hosts.allows("any.example") || hosts.allows(entry) {
			t.Errorf("%s: %v", entry, err)
		}
	}
}

func TestHostSettingMistakesAreNamed(t *testing.T) {
	for _, entry := range []string{"https://claude.ai", "claude.ai/", "*.claude.ai", "a b", "host:0", "*"} {
		if _, err := ParseHosts("claude.ai", entry); err == nil || !strings.Contains(err.Error(), entry) {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

const appURL = "https://app.example/client.json"

func TestDocumentRules(t *testing.T) {
	const redirects = `"redirect_uris":["https://app.example/cb"]`
	r, keys := newRegistry(t, Options{}), newSigners(t)
	for name, tt := range map[string]struct{ body, refusal string }{
		"minimal":               {`{"client_id":"` + appURL + `","client_name":"App",` + redirects + `}`, ""},
		"no client_id":          {`{"client_name":"App",` + redirects + `}`, "client_id is not its URL"},
		"other client_id":       {`{"client_id":"` + appURL + `?","client_name":"App",` + redirects + `}`, "client_id is not its URL"},
		"client_id by case":     {`{"Client_ID":"` + appURL + `","client_name":"App",` + redirects + `}`, "client_id is not its URL"},
		"no name":               {`{"client_id":"` + appURL + `",` + redirects + `}`, "client_name"},
		"invisible name":        {`{"client_id":"` + appURL + `","client_name":"\u202e\u200b",` + redirects + `}`, "client_name"},
		"no redirect URIs":      {`{"client_id":"` + appURL + `","client_name":"App"}`, "redirect_uris"},
		"forbidden redirects":   {`{"client_id":"` + appURL + `","client_name":"App","redirect_uris":["data:text/html,x"]}`, "data"},
		"client_secret":         {`{"client_id":"` + appURL + `","client_name":"App","client_secret":"x",` + redirects + `}`, "client_secret"},
		"secret expiry":         {`{"client_id":"` + appURL + `","client_name":"App","client_secret_expires_at":0,` + redirects + `}`, "client_secret_expires_at"},
		"client_secret_post":    {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_method":"client_secret_post",` + redirects + `}`, "none or private_key_jwt"},
		"client_secret_basic":   {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_method":"client_secret_basic",` + redirects + `}`, "none or private_key_jwt"},
		"client_secret_jwt":     {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_method":"client_secret_jwt",` + redirects + `}`, "none or private_key_jwt"},
		"key method, no keys":   {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_method":"private_key_jwt",` + redirects + `}`, "jwks"},
		"keys twice":            {`{"client_id":"` + appURL + `","client_name":"App","jwks_uri":"https://app.example/k","jwks":` + keys.jwks + `,` + redirects + `}`, "both jwks and jwks_uri"},
		"private key":           {`{"client_id":"` + appURL + `","client_name":"App","jwks":` + keys.private + `,` + redirects + `}`, "private or symmetric"},
		"private key and URL":   {`{"client_id":"` + appURL + `","client_name":"App","jwks_uri":"https://app.example/k","jwks":` + keys.private + `,` + redirects + `}`, "both"},
		"unknown algorithm":     {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_signing_alg":"HS256",` + redirects + `}`, "signing_alg"},
		"answer in a redirect":  {`{"client_id":"` + appURL + `","client_name":"App","redirect_uris":["https://app.example/cb?iss=https%3A%2F%2Fevil.example"]}`, "must not contain iss"},
		"symmetric key":         {`{"client_id":"` + appURL + `","client_name":"App","jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]},` + redirects + `}`, "symmetric"},
		"only symmetric listed": {`{"client_id":"` + appURL + `","client_name":"App","token_endpoint_auth_methods_supported":["client_secret_post"],` + redirects + `}`, "none, or private_key_jwt"},
		"not JSON":              {`<html>`, "JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := r.parseDocument(appURL, []byte(tt.body))
			if tt.refusal == "" {
				if err != nil || c.Host != "app.example" || c.Name != "App" || !c.Allows("https://app.example/cb") {
					t.Fatalf("%+v, %v", c, err)
				}
				return
			}
			if refusal := wantCode(t, err, oauth.InvalidClient); !strings.Contains(refusal.Description, tt.refusal) {
				t.Errorf("description %q does not say %q", refusal.Description, tt.refusal)
			}
		})
	}
}

func TestDocumentAuthenticationMethods(t *testing.T) {
	r, keys := newRegistry(t, Options{}), newSigners(t)
	for name, tt := range map[string]struct {
		members string
		want    []string
	}{
		"silent":           {``, []string{AuthNone}},
		"none":             {`"token_endpoint_auth_method":"none",`, []string{AuthNone}},
		"key":              {`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://app.example/k",`, []string{AuthPrivateKeyJWT}},
		"key and none":     {`"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"jwks_uri":"https://app.example/k",`, []string{AuthPrivateKeyJWT}},
		"inline keys":      {`"token_endpoint_auth_method":"private_key_jwt","jwks":` + keys.jwks + `,`, []string{AuthPrivateKeyJWT}},
		"none, and listed": {`"token_endpoint_auth_method":"none","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"jwks_uri":"https://app.example/k",`, []string{AuthNone, AuthPrivateKeyJWT}},
		"listed, no keys":  {`"token_endpoint_auth_methods_supported":["none","private_key_jwt"],`, []string{AuthNone}},
		"key listed":       {`"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_basic"],"jwks_uri":"https://app.example/k",`, []string{AuthPrivateKeyJWT}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := r.parseDocument(appURL, fmt.Appendf(nil, `{"client_id":%q,"client_name":"App",%s"redirect_uris":["https://app.example/cb"]}`, appURL, tt.members))
			if err != nil || !slices.Equal(c.AuthMethods, tt.want) {
				t.Errorf("methods %q, %v, want %q", c.AuthMethods, err, tt.want)
			}
		})
	}
}

// The one exception: ChatGPT's documents declare private_key_jwt, and its
// clients come without an assertion too.
func TestOnlyChatGPTMayDeclareKeysAndComeWithout(t *testing.T) {
	r := newRegistry(t, Options{})
	for id, public := range map[string]bool{
		"https://chatgpt.com/oauth/client.json": true, "https://chatgpt.com/oauth/abc/client.json": true, "https://chatgpt.com:443/oauth/client.json": true,
		"https://chatgpt.com.evil.example/oauth/client.json": false, "https://evil.example/chatgpt.com": false, "https://www.chatgpt.com/x": false,
	} {
		c, err := r.parseDocument(id, fmt.Appendf(nil, `{"client_id":%q,"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"jwks_uri":"https://chatgpt.com/oauth/jwks.json"}`, id))
		if err != nil || c.Public() != public || !slices.Contains(c.AuthMethods, AuthPrivateKeyJWT) {
			t.Errorf("%s: methods %q, %v", id, c.AuthMethods, err)
		}
	}
}

// Copilot CLI and VS Code declare a port and use another; Claude Code, Codex
// and Zed declare none.
func TestDocumentLoopbackPortIsFree(t *testing.T) {
	r := newRegistry(t, Options{})
	for declared, used := range map[string]string{
		"http://127.0.0.1:33418/":   "http://127.0.0.1:50123/",
		"http://localhost/callback": "http://localhost:3118/callback",
		"http://127.0.0.1/callback": "http://127.0.0.1:51234/callback",
		"http://[::1]/callback":     "http://[::1]:51234/callback",
	} {
		c, err := r.parseDocument(appURL, fmt.Appendf(nil, `{"client_id":%q,"client_name":"App","redirect_uris":[%q]}`, appURL, declared))
		if err != nil || !c.Allows(used) || !c.Allows(declared) {
			t.Errorf("declared %s: %v does not allow %s", declared, err, used)
		}
	}
}

func TestPinnedDocumentsNeedNoFetch(t *testing.T) {
	pinned, err := ParsePinned(`[{"client_id":"` + appURL + `","client_name":"App","redirect_uris":["http://localhost/callback"]}]`)
	if err != nil {
		t.Fatal(err)
	}
	none, _ := ParseHosts("none")
	r := newRegistry(t, Options{Documents: Documents{Hosts: none, Pinned: pinned}})
	if !r.AcceptsDocuments() {
		t.Error("documents are not accepted")
	}
	c, err := r.Lookup(t.Context(), appURL)
	if err != nil || c.Host != "app.example" || !c.Allows("http://localhost:1234/callback") {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = r.Lookup(t.Context(), appURL+"x")
	wantCode(t, err, oauth.InvalidClient)
	if newRegistry(t, Options{Documents: Documents{Hosts: none}}).AcceptsDocuments() {
		t.Error("documents are accepted though none can be")
	}
}

func TestDocumentedPinnedClientsAreAccepted(t *testing.T) {
	pinned, err := ParsePinned("../../docs/pinned-clients.json")
	if err != nil {
		t.Fatal(err)
	}
	none, _ := ParseHosts("none")
	r := newRegistry(t, Options{Documents: Documents{Hosts: none, Pinned: pinned}})
	for id, redirect := range map[string]string{
		"https://claude.ai/oauth/mcp-oauth-client-metadata":   "https://claude.ai/api/mcp/auth_callback",
		"https://claude.ai/oauth/claude-code-client-metadata": "http://localhost:3118/callback",
		"https://vscode.dev/oauth/client-metadata.json":       "http://127.0.0.1:50123/",
		"https://chatgpt.com/oauth/client.json":               "https://chatgpt.com/connector_platform_oauth_redirect",
		"https://chatgpt.com/oauth/codex/client.json":         "http://127.0.0.1:51234/callback",
		"https://github.com/copilot/cli/client-metadata.json": "http://127.0.0.1:40404/",
		"https://zed.dev/oauth/client-metadata.json":          "http://127.0.0.1:1234/callback",
	} {
		c, err := r.Lookup(t.Context(), id)
		if err != nil || !c.Allows(redirect) || !c.Public() {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestPinnedSettingMistakesAreNamed(t *testing.T) {
	for setting, want := range map[string]string{
		"/no/such/file":                  "/no/such/file",
		"[1]":                            "entry 1",
		`[{}]`:                           "entry 1",
		`[{"client_id":"http://x/y#z"}]`: "fragment",
		`[{"client_name":"x"`:            "JSON array",
		`[{"client_id":"https://app.example/x","client_name":"X","redirect_uris":["javascript:x"]}]`: "https://app.example/x",
		`[{"client_id":"https://app.example/x","redirect_uris":["https://app.example/cb"]}]`:         "client_name",
	} {
		pinned, err := ParsePinned(setting)
		if err == nil {
			_, err = New(Options{Table: openTable(t), Documents: Documents{Pinned: pinned}})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
	if pinned, err := ParsePinned(" "); err != nil || len(pinned) != 0 {
		t.Errorf("%v, %v", pinned, err)
	}
}
