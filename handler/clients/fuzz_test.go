package clients

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzRegistrationKeepsOnlyWhatThePolicyAccepts(f *testing.F) {
	for _, tt := range realRegistrations {
		f.Add([]byte(tt.body))
	}
	f.Add([]byte(`{"redirect_uris":["javascript:x",null,"https://a.example/"],"client_name":{},"grant_types":"x","scope":["a"]}`))
	f.Add([]byte(`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"EC"}]}}`))
	// Many in one: before it changes anything, fuzzing runs each seed, slowly.
	for uris := range slices.Chunk(slices.Concat(acceptedRedirects, refusedRedirects), maxRedirectURIs) {
		f.Add([]byte(asJSON(f, map[string]any{"redirect_uris": uris})))
	}
	var policy RedirectPolicy
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := readFields(bytes.NewReader(body))
		if err != nil {
			return
		}
		m, err := fields.common(policy)
		if err != nil {
			return
		}
		var sent struct {
			URIs []string `json:"redirect_uris"`
		}
		if err := json.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &sent); err != nil {
			t.Fatal(err)
		}
		for _, uri := range m.RedirectURIs {
			if why := unsafeRedirect(uri); why != "" {
				t.Errorf("%q is kept: %s", uri, why)
			}
			if !slices.ContainsFunc(sent.URIs, func(s string) bool { return strings.EqualFold(s, uri) || isLoopbackURI(uri) && isLoopbackURI(s) }) {
				t.Errorf("%q is kept and was not sent", uri)
			}
		}
		if len(m.RedirectURIs) == 0 || !slices.Contains(m.GrantTypes, "authorization_code") || !slices.Equal(m.ResponseTypes, []string{"code"}) {
			t.Errorf("%+v", m)
		}
		if utf8.RuneCountInString(m.Name) > maxName+1 || strings.ContainsFunc(m.Name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("name %q", m.Name)
		}
		canonical, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var again metadata
		if err := json.Unmarshal(canonical, &again); err != nil {
			t.Fatal(err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(second, canonical) {
			t.Errorf("%s becomes %s, %v", canonical, second, err)
		}
	})
}

// unsafeRedirect judges a redirect URI without the policy's help.
func unsafeRedirect(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return err.Error()
	case u.Fragment != "" || strings.Contains(uri, "#"):
		return "fragment"
	case u.User != nil:
		return "user"
	case u.Scheme == "https":
		if u.Hostname() == "" {
			return "no host"
		}
	case u.Scheme == "http":
		if h := u.Hostname(); h != "localhost" && h != "127.0.0.1" && h != "::1" {
			return "http to another machine"
		}
	case slices.Contains([]string{"", "javascript", "data", "file", "vbscript", "blob", "about", "ms-settings", "search-ms", "mailto"}, u.Scheme):
		return "scheme " + u.Scheme
	case u.Scheme == "cursor" && !strings.HasPrefix(uri, "cursor://anysphere.cursor-mcp/oauth/") && !strings.HasPrefix(uri, "cursor://anysphere.cursor-retrieval/oauth/") && !strings.HasPrefix(uri, "cursor://saoudrizwan.claude-dev/mcp-auth/callback/") && uri != "cursor://vscode.github-authentication/did-authenticate":
		return "no callback of Cursor"
	}
	for name := range u.Query() {
		if slices.Contains([]string{"code", "state", "iss", "error"}, strings.ToLower(name)) {
			return "holds " + name
		}
	}
	return ""
}

func FuzzDocumentNeverSpeaksForAnotherURL(f *testing.F) {
	f.Add(appURL, []byte(documentFor(appURL, "App")))
	f.Add(appURL, []byte(`{"client_id":"https://app.example/client.json","Client_Secret":"x","client_name":"A","redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`))
	r := newRegistry(f, Options{})
	f.Fuzz(func(t *testing.T, id string, body []byte) {
		c, err := r.parseDocument(id, body)
		if err != nil {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(body, &doc); err != nil && !bytes.HasPrefix(body, []byte("\ufeff")) {
			t.Fatal(err)
		} else if err == nil && doc["client_id"] != id {
			t.Errorf("%v speaks for %s", doc["client_id"], id)
		}
		if c.ID != id || c.Host == "" || c.Name == "" || len(c.RedirectURIs) == 0 || len(c.AuthMethods) == 0 {
			t.Errorf("%+v", c)
		}
		if slices.Contains(c.AuthMethods, AuthSecretPost) || slices.Contains(c.AuthMethods, AuthSecretBasic) {
			t.Errorf("methods %q", c.AuthMethods)
		}
	})
}

func FuzzFetchURLIsPlain(f *testing.F) {
	for _, u := range []string{appURL, "https://user@app.example/x", "https://app.example/%2e%2e/x", "https://127.1/x", "http://localhost/x", "https://app.example:22/x"} {
		f.Add(u)
	}
	seedRedirects(f, func(uri string) { f.Add(uri) })
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := checkFetchURL(raw, Hosts{}, false)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || len(u.Path) < 2 || u.String() != raw || (u.Port() != "" && u.Port() != "443") {
			t.Errorf("%q is accepted", raw)
		}
		for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
			if plain, err := url.PathUnescape(segment); err != nil || plain == "." || plain == ".." {
				t.Errorf("%q has the segment %q", raw, segment)
			}
		}
	})
}

func FuzzBasicCredentialsNeverPanic(f *testing.F) {
	f.Add("Basic eDp5", "id", "secret", "")
	f.Add("Basic ", "", "", "e30.e30.")
	f.Fuzz(func(t *testing.T, header, id, secret, assertion string) {
		cred, err := readCredentials(map[string][]string{"Authorization": {header}}, url.Values{
			"client_id": {id}, "client_secret": {secret}, "client_assertion": {assertion}, "client_assertion_type": {assertionType},
		})
		if err == nil && (cred.clientID == "" || (!cred.secret.IsZero() && cred.assertion != "")) {
			t.Errorf("%+v", cred.clientID)
		}
	})
}
