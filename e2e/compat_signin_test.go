package e2e

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// opens reports whether the token opens the MCP endpoint.
func opens(t *testing.T, s *stack.Local, token string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.MCP(), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
	} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// TestClaudeCodeSendsTheOriginAsResource, TypeScript a slash too many, and
// clients of 2025-03-26 nothing. All mean this server.
func TestClaudeCodeSendsTheOriginAsResource(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	id := s.Register(t, goRedirect)
	for name, resource := range map[string][]string{
		"canonical": {s.MCP()}, "slash": {s.MCP() + "/"}, "origin": {s.URL}, "origin with slash": {s.URL + "/"}, "none": nil,
		"upper case": {strings.Replace(s.MCP(), "localhost", "LOCALHOST", 1)},
	} {
		_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: id, RedirectURI: goRedirect, Extra: url.Values{"resource": resource}})
		if got := claimsOf(t, tokens.Access)["aud"]; got != s.MCP() {
			t.Errorf("%s: aud %v", name, got)
		}
		if !opens(t, s, tokens.Access) {
			t.Errorf("%s: the token does not open the endpoint", name)
		}
	}
}

// TestClaudeAsksForScopesWithALeadingSpace, and for offline_access, which it has
// not registered; others ask for scopes of other servers.
func TestClaudeAsksForScopesWithALeadingSpace(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	_, answer := s.RegisterAs(t, map[string]any{
		"client_name": "Claude", "redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"token_endpoint_auth_method": "none", "scope": "openid profile",
	})
	id, _ := answer["client_id"].(string)
	_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: id, RedirectURI: "https://claude.ai/api/mcp/auth_callback",
		Extra: url.Values{"scope": {"  openid\tprofile  offline_access claudeai mcp:read"}}})
	granted := strings.Fields(tokens.Scope)
	slices.Sort(granted)
	if want := []string{"email", "offline_access", "openid", "profile"}; !slices.Equal(granted, want) || tokens.Refresh == "" {
		t.Errorf("granted %v, want %v with a refresh token", granted, want)
	}
}

// example is the file that docs/pinned-clients.md offers to operators.
var example = filepath.Join("..", "docs", "pinned-clients.json")

// TestCodexNeedsAnyLoopbackPort: so do Claude Code, Copilot CLI, VS Code and
// Zed, and any name of loopback. The path is as in the document.
func TestCodexNeedsAnyLoopbackPort(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, map[string]string{"PINNED_CLIENTS": example, "CLIENT_METADATA_HOSTS": "none"}, nil)
	for client, redirects := range map[string][]string{
		"https://chatgpt.com/oauth/codex/client.json":         {"http://127.0.0.1:49713/callback", "http://localhost:1455/callback"},
		"https://claude.ai/oauth/claude-code-client-metadata": {"http://localhost:3118/callback", "http://localhost:54545/callback"},
		"https://github.com/copilot/cli/client-metadata.json": {"http://127.0.0.1:33418/", "http://127.0.0.1:40321/"},
		"https://vscode.dev/oauth/client-metadata.json":       {"http://127.0.0.1:33419/", "https://vscode.dev/redirect"},
		"https://zed.dev/oauth/client-metadata.json":          {"http://127.0.0.1:61234/callback", "http://localhost:61234/callback"},
	} {
		for _, redirect := range redirects {
			if _, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: client, RedirectURI: redirect}); tokens.Refresh == "" {
				t.Errorf("%s at %s: no refresh token", client, redirect)
			}
		}
	}
	for client, redirect := range map[string]string{
		"https://zed.dev/oauth/client-metadata.json":          "http://localhost.evil.example:61234/callback",
		"https://chatgpt.com/oauth/codex/client.json":         "http://127.0.0.1:49713/other",
		"https://claude.ai/oauth/claude-code-client-metadata": "https://localhost:3118/callback",
	} {
		if res, _ := probe(t, http.MethodGet, s.Start(stack.Flow{ClientID: client, RedirectURI: redirect}).URL, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s at %s: %s", client, redirect, res.Status)
		}
	}
}

// TestClaudeIsKnownWithoutFetchingItsDocument, which claude.ai refuses to some
// data centres.
func TestClaudeIsKnownWithoutFetchingItsDocument(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, map[string]string{"PINNED_CLIENTS": example, "CLIENT_METADATA_HOSTS": "none"}, nil)
	for _, redirect := range []string{"https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"} {
		_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: "https://claude.ai/oauth/mcp-oauth-client-metadata", RedirectURI: redirect})
		if tokens.Refresh == "" || !opens(t, s, tokens.Access) {
			t.Errorf("%s: %+v", redirect, tokens)
		}
	}
}

// TestChatGPTGetsTheIssuerInEveryAnswer: in refusals too, and never Entra's.
func TestChatGPTGetsTheIssuerInEveryAnswer(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, map[string]string{"PINNED_CLIENTS": example, "CLIENT_METADATA_HOSTS": "none"}, nil)
	if fetchJSON(t, s.URL+issuerPaths[0])["authorization_response_iss_parameter_supported"] != true {
		t.Error("the issuer in answers is not announced")
	}
	f := stack.Flow{ClientID: "https://chatgpt.com/oauth/client.json", RedirectURI: "https://chatgpt.com/connector_platform_oauth_redirect", Extra: url.Values{"state": {"s"}}}
	callback, _ := s.SignInWith(t, stack.Alice, f)
	f.Extra.Set("response_type", "token")
	res, _ := probe(t, http.MethodGet, s.Start(f).URL, nil)
	refusal, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	for what, u := range map[string]*url.URL{"callback": callback, "refusal": refusal} {
		if got := u.Query()["iss"]; !slices.Equal(got, []string{s.URL}) || u.Query().Get("state") != "s" {
			t.Errorf("%s: %s", what, u)
		}
	}
	if refusal.Query().Get("error") != "unsupported_response_type" {
		t.Errorf("refusal: %s", refusal)
	}
}

// TestCursorRegistersThreeKindsOfRedirectURIs in one request, and gives up if one
// of them is refused.
func TestCursorRegistersThreeKindsOfRedirectURIs(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	uris := []string{"cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"}
	status, answer := s.RegisterAs(t, map[string]any{
		"client_name": "Cursor", "redirect_uris": uris, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
	})
	if got := strings.Fields(join(answer["redirect_uris"].([]any))); status != http.StatusCreated || !slices.Equal(got, uris) {
		t.Fatalf("%d %v", status, answer)
	}
	for _, redirect := range uris {
		if _, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: answer["client_id"].(string), RedirectURI: redirect}); tokens.Access == "" {
			t.Errorf("%s: no token", redirect)
		}
	}
}

// TestVSCodeRegistersForMoreThanThereIs: it names every grant type it knows.
func TestVSCodeRegistersForMoreThanThereIs(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	status, answer := s.RegisterAs(t, map[string]any{
		"client_name": "Visual Studio Code", "client_uri": "https://code.visualstudio.com", "application_type": "native", "software_id": "x",
		"redirect_uris":              []string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"},
		"grant_types":                []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
		"token_endpoint_auth_method": "none", "response_types": []string{"code"},
	})
	if got := strings.Fields(join(answer["grant_types"].([]any))); status != http.StatusCreated || !slices.Equal(got, []string{"authorization_code", "refresh_token"}) {
		t.Errorf("%d %v", status, answer)
	}
}

// TestClaudeRegistersAtEachConnect: the same public metadata is one client, and
// rows for clients with a secret end by themselves if nobody uses them.
func TestClaudeRegistersAtEachConnect(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	for range 20 {
		s.Register(t, "https://claude.ai/api/mcp/auth_callback")
	}
	if got := len(s.Rows(t, "c-")); got != 1 {
		t.Errorf("%d rows for one public client", got)
	}
	status, answer := s.RegisterAs(t, map[string]any{"client_name": "Claude", "redirect_uris": []string{"https://claude.ai/api/mcp/auth_callback"},
		"token_endpoint_auth_method": "client_secret_post"})
	if status != http.StatusCreated || answer["client_secret"] == nil {
		t.Errorf("%d %v", status, answer)
	}
	for _, row := range s.Rows(t, "c-") {
		if row.Expires.IsZero() || row.Expires.After(s.Clock.Now().Add(30*24*time.Hour+time.Minute)) {
			t.Errorf("an unused registration lives until %s", row.Expires)
		}
	}
}

// TestTypeScriptRegistersAgainOnInvalidClient, and signs in again on
// invalid_grant: the two must not be mixed up. Claude does the same.
func TestTypeScriptRegistersAgainOnInvalidClient(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	id := s.Register(t, goRedirect)
	_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: id, RedirectURI: goRedirect})
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}, "client_id": {id}}
	unknown := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh}, "client_id": {"p-nobody"}}
	if got := s.Token(t, unknown); got.Status != http.StatusUnauthorized || got.Error != "invalid_client" {
		t.Errorf("an unknown client: %+v", got)
	}
	forged := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Refresh + "x"}, "client_id": {id}}
	if got := s.Token(t, forged); got.Status != http.StatusBadRequest || got.Error != "invalid_grant" {
		t.Errorf("a refresh token that is not ours: %+v", got)
	}
	if got := s.Token(t, refresh); got.Status != http.StatusOK {
		t.Errorf("the good one: %+v", got)
	}
}

// TestMCPRemoteRefreshesInParallel: several of its processes share one file of
// tokens. Each gets tokens that work, and the grant goes on.
func TestMCPRemoteRefreshesInParallel(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	id := s.Register(t, goRedirect)
	_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: id, RedirectURI: goRedirect, Extra: url.Values{"prompt": {"consent"}}})
	refresh := func(token string) stack.Tokens {
		return s.Token(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {id}, "scope": {tokens.Scope}, "resource": {s.MCP()}})
	}
	answers := make([]stack.Tokens, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = refresh(tokens.Refresh) })
	}
	wg.Wait()
	for i, a := range answers {
		if a.Status != http.StatusOK || !opens(t, s, a.Access) {
			t.Errorf("process %d: %+v", i, a)
		}
	}
	if next := refresh(answers[0].Refresh); next.Status != http.StatusOK || !opens(t, s, next.Access) {
		t.Errorf("the next refresh: %+v", next)
	}
}

// TestTypeScriptReadsOnlyTheFirstChallenge, and asks for exactly the scopes in it,
// so that it must name those that were granted before.
func TestTypeScriptReadsOnlyTheFirstChallenge(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, offerMail)
	token := s.SignIn(t, stack.Alice)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.MCP(),
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send_mail"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	challenges := res.Header.Values("WWW-Authenticate")
	if res.StatusCode != http.StatusForbidden || len(challenges) != 1 {
		t.Fatalf("%s %q", res.Status, challenges)
	}
	for _, want := range []string{
		`Bearer error="insufficient_scope", `, `scope="Mail.Send email openid profile"`,
		`resource_metadata="` + s.URL + resourcePaths[0] + `"`,
	} {
		if !strings.Contains(challenges[0], want) {
			t.Errorf("%s lacks %s", challenges[0], want)
		}
	}
}

// TestInspectorInTheBrowserConnectsDirectly: its page is of another origin, and
// may read challenges; other pages may not even ask.
func TestInspectorInTheBrowserConnectsDirectly(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, map[string]string{"ALLOWED_ORIGINS": "https://inspector.example"}, nil)
	for _, origin := range []string{"http://localhost:6274", "https://inspector.example"} {
		asked := "authorization,content-type,mcp-protocol-version,mcp-method,mcp-name,mcp-session-id,last-event-id,mcp-param-region"
		res, _ := probe(t, http.MethodOptions, s.MCP(), http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {asked},
		})
		allowed := strings.Split(strings.ToLower(strings.ReplaceAll(res.Header.Get("Access-Control-Allow-Headers"), " ", "")), ",")
		for name := range strings.SplitSeq(asked, ",") {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s may not send %s", origin, name)
			}
		}
		if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("%s: %s %v", origin, res.Status, res.Header)
		}
		refused, _ := probe(t, http.MethodPost, s.MCP(), http.Header{"Origin": {origin}})
		exposed := refused.Header.Get("Access-Control-Expose-Headers")
		if refused.StatusCode != http.StatusUnauthorized || refused.Header.Get("Access-Control-Allow-Origin") != origin ||
			!strings.Contains(exposed, "WWW-Authenticate") || !strings.Contains(exposed, "Mcp-Session-Id") {
			t.Errorf("%s: %s %v", origin, refused.Status, refused.Header)
		}
		for _, path := range slices.Concat(resourcePaths, issuerPaths, []string{"/register", "/token", "/revoke"}) {
			res, _ := probe(t, http.MethodOptions, s.URL+path, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}})
			if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s from %s: %s %v", path, origin, res.Status, res.Header)
			}
		}
	}
	for _, method := range []string{http.MethodOptions, http.MethodPost, http.MethodGet, http.MethodDelete} {
		for _, origin := range []string{"https://evil.example", "null", "https://inspector.example.evil.example"} {
			res, _ := probe(t, method, s.MCP(), http.Header{"Origin": {origin}})
			if res.StatusCode != http.StatusForbidden || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: %s", method, origin, res.Status)
			}
		}
	}
}
