package clients

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

var acceptedRedirects = []string{
	"https://claude.ai/api/mcp/auth_callback",
	"https://claude.com/api/mcp/auth_callback",
	"https://chatgpt.com/connector_platform_oauth_redirect",
	"https://chatgpt.com/connector/oauth/abc-123",
	"https://vscode.dev/redirect",
	"https://oauth.n8n.cloud/oauth2/callback",
	"https://app.example:8443/cb?tenant=a%20b",
	"https://localhost/cb",
	"https://app.example",
	"http://localhost/callback",
	"http://localhost:8787/callback",
	"http://127.0.0.1:33418/",
	"http://127.0.0.1",
	"http://[::1]:6276/oauth/callback",
	"cursor://anysphere.cursor-mcp/oauth/callback",
	"vscode://vscode.github-authentication/did-authenticate",
	"workbuddy://workbuddy/mcp/oauth/callback", "myapp://callback", "myapp:callback",
	"cursor://anysphere.cursor-retrieval/oauth/user-github/callback", "vscode://saoudrizwan.claude-dev/mcp-auth/callback/5f2b",
	"warp://mcp/oauth2callback", "raycast://oauth?package_name=Extension", "com.raycast:/oauth?package_name=Extension",
	"https://teams.microsoft.com/api/platform/v1.0/oAuthRedirect", "https://global.consent.azure-apim.net/redirect/my-20tool-5f1c",
	"https://app.example/__/auth/handler", "https://app.example/cb?tenant=1&from=state",
	"com.example.app:/oauth2redirect",
	"com.example.app://callback",
	"com.example.app:callback",
}

var refusedRedirects = []string{
	"", "x", "/cb", "//app.example/cb", "https:", "https://", "https:///cb", "https:app.example/cb",
	"javascript:alert(1)", "JavaScript:alert(1)", "javascript://app.example/%0aalert(1)", "java\tscript:alert(1)",
	"data:text/html,x", "file:///etc/passwd", "about:blank", "blob:https://app.example/x", "ws://app.example/", "wss://app.example/",
	"vbscript:x", "filesystem:https://app.example/x", "view-source:https://app.example", "ftp://app.example/", "mailto:a@b", "intent://x/",
	"http://app.example/cb", "http://localhost.evil.example/cb", "http://localhost@evil.example/cb", "http://127.0.0.1.evil.example/cb",
	"http://127.0.0.2/cb", "http://127.1/cb", "http://2130706433/cb", "http://0.0.0.0/cb", "http://[::]/cb", "http://[::ffff:127.0.0.1]/cb",
	"http://localhost./cb", "http://localhost:/cb", "http://localhost:0/cb", "http://localhost:65536/cb", "http://localhost:080/cb", "http://localhost:+80/cb",
	"https://user@app.example/cb", "https://user:pass@app.example/cb", "https://@app.example/cb", "https://app.example@evil.example/cb",
	"https://app.example/cb#", "https://app.example/cb#x", "https://app.example\\@evil.example/cb", "https://app.example/\\cb",
	"https://app.example/c b", "https://app.example/cb\n", "https://app.example/cb\r\nX: y", "https://app.example/\x00", "https://app.example/\x7f",
	"https://app.example/é", "https://äpp.example/cb", "https://app.example/%zz", "https://app%2eexample/cb",
	"https://*.example/cb", "https://app.example/*", "*",
	"https://app.example/../cb", "https://app.example/a/./cb", "https://app.example/%2e%2e/cb", "https://app.example/a/.%2E/cb",
	"https://app.example:/cb", "https://app.example:x/cb", "https://app.example:99999/cb", "https://.example/cb", "https://app..example/cb", "https://-app.example/cb",
	"https://[::1/cb", "https://[fe80::1%25eth0]/cb", "HTTPS://app.example/cb", "https://app.example/<script>", "https://app.example/\"",
	"myapp://install?config=x", "myapp:install?config=x", "com.example.app:",
	// Known apps do more with their scheme than to take an answer.
	"cursor://anysphere.cursor-deeplink/mcp/install?name=x&config=e30", "cursor://anysphere.cursor-deeplink/mcp/install", "cursor://anysphere.cursor-mcp/oauth/../x",
	"vscode://vscode.git/clone?url=https://evil.example", "vscode:mcp/install", "vscode://file/etc/passwd", "vscode-insiders:mcp/install", "windsurf://codeium.windsurf/openChat",
	"goose://extension", "goose://recipe?config=x", "claude://claude.ai/new?q=x", "codex://new", "zed://extensions", "raycast://extensions/x", "warp://action/new_tab", "lmstudio://add_mcp",
	"ms-settings:privacy", "ms-officecmd:x", "ms-word:ofe|u|https://x", "search-ms:query=x", "itms-services://x/y", "x-apple.systempreferences:x", "jetbrains://idea/checkout", "ssh://host/x", "steam://run/1", "web+app://x/y", "chrome-extension://x/y",
	// Parameters of the answer, in every spelling that a framework may read.
	"https://app.example/cb?iss=https%3A%2F%2Fevil.example", "https://app.example/cb?state=x", "https://app.example/cb?x=1&code=y", "https://app.example/cb?error=x", "https://app.example/cb?error_description=x",
	"https://app.example/cb?ISS=x", "https://app.example/cb?%69ss=x", "https://app.example/cb?iss", "https://app.example/cb?state[]=x", "https://app.example/cb?%20code=x", "https://app.example/cb?a=1;code=x", "http://localhost/cb?iss=x", "com.example.app:/cb?code=x",
	"https://app.example/cb?access_token=x", "https://app.example/cb?id_token=x",
	// Placeholders that nobody has replaced.
	"http://127.0.0.1:__PORT__/", "http://localhost:{port}/cb", "http://localhost:$PORT/cb", "http://localhost:PORT/cb", "https://{host}/cb", "https://<host>/cb",
	"com.example.app:/", "com.example.app://user@host/cb",
	"https://app.example/" + strings.Repeat("x", maxRedirectURI),
}

func TestRedirectURIPolicy(t *testing.T) {
	var policy RedirectPolicy
	for _, uri := range acceptedRedirects {
		if err := policy.Check(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	for _, uri := range refusedRedirects {
		if policy.Check(uri) == nil {
			t.Errorf("%q is accepted", uri)
		}
	}
}

func TestLongestRedirectURI(t *testing.T) {
	const stem = "https://app.example/"
	var policy RedirectPolicy
	if err := policy.Check(stem + strings.Repeat("x", maxRedirectURI-len(stem))); err != nil {
		t.Error(err)
	}
	if policy.Check(stem+strings.Repeat("x", maxRedirectURI-len(stem)+1)) == nil {
		t.Error("one longer is accepted")
	}
}

func TestNoListAdmitsAForbiddenRedirectURI(t *testing.T) {
	for _, uri := range refusedRedirects {
		u, err := parseRedirect(uri)
		if uri == "https://app.example/*" || err == nil && isNative(u.String()) {
			continue // a pattern, and private-use schemes that a list may name
		}
		if _, err := NewRedirectPolicy(uri); err == nil {
			t.Errorf("%q can be listed", uri)
		}
		if len(uri) < maxRedirectURI {
			if policy, err := NewRedirectPolicy(uri + "/*"); err == nil {
				if policy.Check(uri) == nil {
					t.Errorf("%q/* admits it", uri)
				}
			}
		}
	}
}

func TestAllowedRedirectURIPatterns(t *testing.T) {
	for pattern, tt := range map[string]struct{ match, differ []string }{
		"https://claude.ai/api/mcp/auth_callback": {
			[]string{"https://claude.ai/api/mcp/auth_callback"},
			[]string{"https://claude.ai/api/mcp/auth_callback/", "https://claude.ai/api/mcp/auth_callback?x=y", "https://claude.ai/api/mcp/Auth_callback", "https://claude.ai:443/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"},
		},
		"https://chatgpt.com/connector/oauth/*": {
			[]string{"https://chatgpt.com/connector/oauth/abc", "https://chatgpt.com/connector/oauth/a/b", "https://chatgpt.com/connector/oauth/a%20b"},
			[]string{"https://chatgpt.com/connector/oauth/", "https://chatgpt.com/connector/oauth", "https://chatgpt.com/connector/oauthx/a", "https://chatgpt.com/connector/oauth/../x",
				"https://chatgpt.com/connector/oauth/%2e%2e/x", "https://chatgpt.com/connector/oauth/a%2Fb", "https://chatgpt.com/connector/oauth/a%5cb", "https://chatgpt.com/connector/oauth/a?b=c",
				"https://chatgpt.com.evil.example/connector/oauth/a", "https://evil.example/https://chatgpt.com/connector/oauth/a", "http://chatgpt.com/connector/oauth/a", "https://chatgpt.com:8443/connector/oauth/a",
				"https://CHATGPT.com/connector/oauth/a", "https://chatgpt.com/connector/%6fauth/a"},
		},
		"https://app.example/*": {
			[]string{"https://app.example/cb", "https://app.example/a/b"},
			[]string{"https://app.example", "https://app.example/", "https://app.example.evil.example/cb", "https://app.example:8443/cb"},
		},
		"http://localhost/callback": {
			[]string{"http://localhost/callback", "http://localhost:3118/callback"},
			[]string{"http://127.0.0.1:3118/callback", "http://localhost:3118/other", "https://localhost/callback"},
		},
		"http://127.0.0.1/*": {
			[]string{"http://127.0.0.1:51234/callback", "http://127.0.0.1/x/y"},
			[]string{"http://localhost:51234/callback", "http://127.0.0.1:51234/", "http://127.0.0.1:51234/../x"},
		},
		"myapp://callback": {[]string{"myapp://callback"}, []string{"myapp://callback/x", "myapp://other", "cursor://anysphere.cursor-mcp/oauth/callback"}},
		"cursor://anysphere.cursor-mcp/*": {
			[]string{"cursor://anysphere.cursor-mcp/oauth/callback"},
			[]string{"cursor://other/oauth/callback", "vscode://anysphere.cursor-mcp/x"},
		},
	} {
		policy := policyOf(t, "only", pattern)
		for _, uri := range tt.match {
			if err := policy.Check(uri); err != nil {
				t.Errorf("%s: %s: %v", pattern, uri, err)
			}
		}
		for _, uri := range tt.differ {
			if policy.Check(uri) == nil {
				t.Errorf("%s matches %s", pattern, uri)
			}
		}
	}
}

func TestMistakenPatternsAreNamed(t *testing.T) {
	patterns := []string{"https://*.app.example/cb", "https://app.example*", "https://app.example/cb*", "*", "https://app.example/*/cb", "https://app.example/?x=/*", "com.example.app:/*", "https://app.example/#/*", "app.example/*"}
	_, err := NewRedirectPolicy(append(slices.Clone(patterns), "https://fine.example/*")...)
	if err == nil {
		t.Fatal("all are accepted")
	}
	for _, pattern := range patterns {
		if !strings.Contains(err.Error(), `"`+pattern+`"`) {
			t.Errorf("%s is not named in: %v", pattern, err)
		}
	}
	if strings.Contains(err.Error(), "fine.example") {
		t.Error(err)
	}
}

func TestRedirectURIsAreComparedAsStrings(t *testing.T) {
	c := Client{RedirectURIs: []string{"https://app.example/cb", "http://localhost:8787/callback", "http://127.0.0.1/", "com.example.app:/cb"}}
	for _, uri := range []string{"https://app.example/cb", "http://localhost:8787/callback", "http://localhost/callback", "http://localhost:1/callback", "http://127.0.0.1:33418/", "com.example.app:/cb"} {
		if !c.Allows(uri) {
			t.Errorf("%s is refused", uri)
		}
	}
	for _, uri := range []string{
		"", "https://app.example/cb/", "https://app.example/cb?", "https://app.example/cb#", "https://app.example:443/cb", "https://APP.example/cb", "https://app.example/%63b", "https://app.example/x/../cb",
		"http://app.example/cb", "http://localhost:8787/callback/", "http://localhost:8787/Callback", "http://localhost:8787/callback?x", "http://localhost:8787/callback#x", "http://127.0.0.1:8787/callback", "http://[::1]:8787/callback",
		"https://localhost:8787/callback", "http://localhost:8787@evil.example/callback", "http://localhost:8787:1/callback", "http://localhost:0/callback", "http://localhost:99999/callback", "http://localhost:/callback", "http://localhost:8787\\@evil.example/callback",
		"http://evil.example\\@localhost:1/callback", "http://user@localhost:1/callback", "http://localhost.:1/callback", "HTTP://localhost:1/callback", "http://localhost/callback ", " http://localhost/callback",
		"http://127.0.0.1:33418", "com.example.app:1/cb", "com.example.app:/CB",
	} {
		if c.Allows(uri) {
			t.Errorf("%q is allowed", uri)
		}
	}
}

func TestLoopbackURIsAreKeptInCanonicalForm(t *testing.T) {
	for given, want := range map[string]string{
		"http://LOCALHOST/cb":                "http://localhost/cb",
		"http://LocalHost:8080/CB?x=Y":       "http://localhost:8080/CB?x=Y",
		"http://[0:0:0:0:0:0:0:1]/cb":        "http://[::1]/cb",
		"http://[0000::0001]:9/cb":           "http://[::1]:9/cb",
		"https://APP.example/cb":             "https://APP.example/cb",
		"http://[::ffff:7f00:1]/cb":          "http://[::ffff:7f00:1]/cb",
		"http://127.0.0.1:33418/":            "http://127.0.0.1:33418/",
		"com.example.app://LOCALHOST:8080/x": "com.example.app://LOCALHOST:8080/x",
	} {
		if got := canonicalRedirect(given); got != want {
			t.Errorf("%s became %s, want %s", given, got, want)
		}
	}
	r := newRegistry(t, Options{})
	a := register(t, r, `{"redirect_uris":["http://LOCALHOST/cb"],"token_endpoint_auth_method":"none"}`)
	b := register(t, r, `{"redirect_uris":["http://localhost/cb","http://LOCALHOST/cb"],"token_endpoint_auth_method":"none"}`)
	if a.ClientID != b.ClientID || !slices.Equal(a.RedirectURIs, []string{"http://localhost/cb"}) {
		t.Errorf("%s with %q, %s with %q", a.ClientID, a.RedirectURIs, b.ClientID, b.RedirectURIs)
	}
	c, err := r.Lookup(t.Context(), a.ClientID)
	if err != nil || !c.Allows("http://LOCALHOST:3118/cb") {
		t.Errorf("the registered spelling is not allowed: %v", err)
	}
}

func TestPlaceholderIsNamed(t *testing.T) {
	var policy RedirectPolicy
	for uri, placeholder := range map[string]string{
		"http://127.0.0.1:__PORT__/": "__PORT__", "http://localhost:{port}/cb": "{port}", "http://localhost:${PORT}/cb": "${PORT}",
		"http://localhost:$PORT/cb": "$PORT", "http://localhost:PORT/cb": "PORT", "https://<host>/cb": "<host>",
	} {
		if err := policy.Check(uri); err == nil || !strings.Contains(err.Error(), "placeholder "+placeholder+",") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// For a native app the names of loopback are one: some register 127.0.0.1 and
// authorize with localhost. A client with a secret is no native app.
func TestLoopbackNamesAreOneForPublicClients(t *testing.T) {
	for _, registered := range []string{"http://127.0.0.1:8000/cb", "http://localhost/cb", "http://[::1]:1/cb"} {
		public := Client{RedirectURIs: []string{registered}, AuthMethods: []string{AuthNone}}
		confidential := Client{RedirectURIs: []string{registered}, AuthMethods: []string{AuthSecretPost}}
		for _, given := range []string{"http://127.0.0.1:50123/cb", "http://localhost:50123/cb", "http://[::1]:50123/cb"} {
			if !public.Allows(given) {
				t.Errorf("%s does not allow %s", registered, given)
			}
			if confidential.Allows(given) != (canonicalHost(registered) == canonicalHost(given)) {
				t.Errorf("with a secret, %s and %s", registered, given)
			}
		}
		for _, given := range []string{"http://localhost.evil.example/cb", "http://127.0.0.2/cb", "http://localhost/other", "https://localhost/cb", "http://localhost/cb?x", "http://localhost@evil.example/cb"} {
			if public.Allows(given) {
				t.Errorf("%s allows %s", registered, given)
			}
		}
	}
}

// A list adds to the policy: what it refuses may be on it, what it accepts
// stays accepted. What could never be safe cannot be listed.
func TestListedRedirectURIsAreAdded(t *testing.T) {
	const extra = "cursor://acme.extension/oauth/callback"
	policy := policyOf(t, extra, "https://app.example/*")
	for _, uri := range append([]string{extra, "https://app.example/cb"}, acceptedRedirects...) {
		if err := policy.Check(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if (RedirectPolicy{}).Check(extra) == nil {
		t.Error("it was accepted before it was listed")
	}
	if policy.Check("cursor://acme.extension/install") == nil {
		t.Error("what is not listed is accepted")
	}
	c := Client{policy: policy}
	if !c.Trusted("https://app.example/cb") || c.Trusted("https://other.example/cb") {
		t.Error("what is listed, and only that, is trusted")
	}
	if none, err := NewRedirectPolicy(); err != nil || none.Check("https://other.example/cb") != nil {
		t.Errorf("without a list: %v", err)
	}
	if _, err := NewRedirectPolicy("only"); err == nil {
		t.Error("a list of nothing is accepted")
	}
}

func seedRedirects(f *testing.F, add func(uri string)) {
	for _, uri := range slices.Concat(acceptedRedirects, refusedRedirects) {
		add(uri)
	}
}

// Whatever the policy accepts means the same to every parser: it prints as it
// was written, and carries none of what makes parsers differ.
func FuzzAcceptedRedirectURIParsesAndPrintsTheSame(f *testing.F) {
	seedRedirects(f, func(uri string) { f.Add(uri) })
	var policy RedirectPolicy
	f.Fuzz(func(t *testing.T, given string) {
		if policy.Check(given) != nil {
			return
		}
		uri := canonicalRedirect(given)
		if err := policy.Check(uri); err != nil || canonicalRedirect(uri) != uri || !(Client{RedirectURIs: []string{uri}}).Allows(given) {
			t.Errorf("%q becomes %q: %v", given, uri, err)
		}
		u, err := url.Parse(uri)
		if err != nil || u.String() != uri {
			t.Fatalf("%q prints as %q, %v", uri, u, err)
		}
		again, err := url.Parse(u.String())
		if err != nil || *again != *u {
			t.Errorf("%q parses to something else the second time", uri)
		}
		if u.User != nil || u.Fragment != "" || strings.ContainsAny(uri, "#\\*<>\"\r\n\x00 ") || dangerousScheme(u.Scheme) {
			t.Errorf("%q is accepted", uri)
		}
		for _, name := range responseParameters {
			if u.Query().Has(name) {
				t.Errorf("%q holds %s", uri, name)
			}
		}
		if (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "" {
			t.Errorf("%q has no host", uri)
		}
		if u.Scheme == "http" && !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) {
			t.Errorf("%q is http to another machine", uri)
		}
		if !(Client{RedirectURIs: []string{uri}}).Allows(uri) {
			t.Errorf("%q does not allow itself", uri)
		}
	})
}

// A URI is allowed only if it is registered, or differs from a registered
// loopback URI in nothing but the port.
func FuzzAllowsOnlyWhatIsRegistered(f *testing.F) {
	seedRedirects(f, func(uri string) {
		f.Add("http://localhost/callback", uri)
		f.Add(uri, "http://127.0.0.1:1/")
	})
	var policy RedirectPolicy
	f.Fuzz(func(t *testing.T, registered, given string) {
		if policy.Check(registered) != nil {
			return
		}
		if !(Client{RedirectURIs: []string{registered}}).Allows(given) || registered == given {
			return
		}
		r, errR := url.Parse(registered)
		g, errG := url.Parse(given)
		if err := errors.Join(errR, errG); err != nil {
			t.Fatalf("%q allows %q: %v", registered, given, err)
		}
		if r.Scheme != "http" || !isLoopbackURI(given) || canonicalHost(registered) != canonicalHost(given) {
			t.Fatalf("%q allows %q", registered, given)
		}
		r.Host, g.Host = "", ""
		if *r != *g {
			t.Errorf("%q allows %q", registered, given)
		}
		if err := policy.Check(given); err != nil {
			t.Errorf("%q allows %q: %v", registered, given, err)
		}
	})
}

func canonicalHost(uri string) string {
	l, _ := splitLoopback(uri)
	return l.host
}

// What a pattern with an asterisk matches is on its host, port and scheme, and
// under its path, for a parser that does resolve dot segments.
func FuzzPatternStaysOnItsHost(f *testing.F) {
	patterns := []string{"https://claude.ai/*", "https://chatgpt.com/connector/oauth/*", "https://a.example:8443/x/*", "http://localhost/*", "http://127.0.0.1/cb/*", "cursor://anysphere.cursor-mcp/*"}
	next := 0
	seedRedirects(f, func(uri string) { // each beside one of them
		f.Add(patterns[next%len(patterns)], uri)
		next++
	})
	for _, pattern := range patterns {
		f.Add(pattern, strings.TrimSuffix(pattern, "*")+"x")
		f.Add(pattern, strings.TrimSuffix(pattern, "/*")+".evil.example/x")
		f.Add(pattern, strings.TrimSuffix(pattern, "*")+"%2e%2e/x")
	}
	f.Fuzz(func(t *testing.T, pattern, uri string) {
		if !strings.HasSuffix(pattern, "/*") {
			return
		}
		policy, err := NewRedirectPolicy("only", pattern)
		if err != nil || policy.Check(uri) != nil {
			return
		}
		p, errP := url.Parse(canonicalRedirect(strings.TrimSuffix(pattern, "*")))
		u, errU := url.Parse(canonicalRedirect(uri))
		if err := errors.Join(errP, errU); err != nil {
			t.Fatal(err)
		}
		if p.Scheme != u.Scheme || p.Hostname() != u.Hostname() || (p.Port() != u.Port() && p.Scheme != "http") {
			t.Fatalf("%s matches %s", pattern, uri)
		}
		if u.RawQuery != "" || u.ForceQuery || !strings.HasPrefix(u.JoinPath("").Path, p.Path) {
			t.Errorf("%s matches %s", pattern, uri)
		}
	})
}

// Who registers a client, or publishes its metadata, chooses its web site; only
// the operator's choice of it counts.
func TestNoStrangersSiteIsRedirectedToUnasked(t *testing.T) {
	const uri = "https://client.example/cb"
	body := `{"redirect_uris":["` + uri + `","http://localhost/cb","com.example.app:/cb"],"token_endpoint_auth_method":"none"}`
	open := newRegistry(t, Options{})
	policy := policyOf(t, "https://client.example/*", "com.example.app:/cb")
	listed := newRegistry(t, Options{Policy: policy})
	const pinned = "https://client.example/app.json"
	document := strings.Replace(body, "{", `{"client_id":"`+pinned+`","client_name":"App",`, 1)
	withPinned := newRegistry(t, Options{Documents: Documents{Pinned: Pinned{pinned: []byte(document)}}})
	for name, tt := range map[string]struct {
		r       *Registry
		id, uri string
		want    bool
	}{
		"a stranger's site":   {open, register(t, open, body).ClientID, uri, false},
		"loopback":            {open, register(t, open, body).ClientID, "http://localhost:3118/cb", true},
		"an app's own scheme": {open, register(t, open, body).ClientID, "com.example.app:/cb", false},
		"a listed scheme":     {listed, register(t, listed, body).ClientID, "com.example.app:/cb", false},
		"a pinned scheme":     {withPinned, pinned, "com.example.app:/cb", false},
		"a listed site":       {listed, register(t, listed, body).ClientID, uri, true},
		"a pinned document":   {withPinned, pinned, uri, true},
	} {
		c := lookup(t, tt.r, tt.id)
		if got := c.MayRedirectUnasked(tt.uri); !c.Allows(tt.uri) || got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
