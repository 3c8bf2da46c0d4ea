package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
	"entramcp/handler/oauth"
)

const (
	appCallback = "http://127.0.0.1:8977/callback"
	appVerifier = "0123456789012345678901234567890123456789abc"
)

// app is an MCP client that shows what the wire shows: statuses, headers and
// OAuth errors that SDKs keep to themselves.
type app struct {
	*oauthclient.Client
	t       *testing.T
	browser *stack.Browser
	access  string
	refresh string
}

// wire is one answer.
type wire struct {
	status int
	header http.Header
	body   map[string]any
}

func (w wire) text(member string) string {
	s, _ := w.body[member].(string)
	return s
}

// newApp registers a client at the server.
func newApp(t *testing.T, server, user string) *app {
	t.Helper()
	return registered(&app{t: t, Client: oauthclient.New(server, appCallback), browser: stack.NewBrowser(user)})
}

// newAppOf is newApp on a computer that trusts the stack.
func newAppOf(t *testing.T, s *stack.Stack, user string) *app {
	t.Helper()
	a := &app{t: t, Client: oauthclient.New(s.URL, appCallback), browser: s.Browser(user)}
	a.HTTP = s.Client()
	return registered(a)
}

func registered(a *app) *app {
	a.t.Helper()
	if answer, err := a.Register(a.t.Context(), a.Public("wire")); err != nil || a.ID == "" {
		a.t.Fatalf("register: %v, %s", err, answer.Body)
	}
	return a
}

// request is the authorization request for scopes.
func (a *app) request(scopes ...string) oauthclient.Request {
	r := a.Request(url.Values{"scope": {strings.Join(scopes, " ")}, "code_challenge": {oauth.S256(appVerifier)}})
	r.Verifier = appVerifier
	return r
}

// authorize takes the user through consent and sign-in and returns what
// reaches the client.
func (a *app) authorize(scopes ...string) url.Values {
	a.t.Helper()
	r := a.request(scopes...)
	back, err := a.browser.Approve(r.URL)
	if err != nil {
		a.t.Fatal(err)
	}
	if q := back.Query(); q.Get("state") != r.State || q.Get("iss") != a.Issuer {
		a.t.Fatalf("the client got another's answer: %v", q)
	}
	return back.Query()
}

// signIn authorizes and redeems the code.
func (a *app) signIn(scopes ...string) *app {
	a.t.Helper()
	q := a.authorize(scopes...)
	answer := a.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {appCallback}, "code_verifier": {appVerifier}})
	if answer.status != http.StatusOK {
		a.t.Fatalf("sign-in: %v, then %+v", q, answer)
	}
	return a
}

// renew uses the refresh token.
func (a *app) renew() wire {
	a.t.Helper()
	return a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.refresh}})
}

func (a *app) token(form url.Values) wire {
	a.t.Helper()
	form.Set("client_id", a.ID)
	answer := a.send("/token", "application/x-www-form-urlencoded", form.Encode())
	if answer.status == http.StatusOK {
		a.access, a.refresh = answer.text("access_token"), answer.text("refresh_token")
	}
	return answer
}

// result is that of a tool.
type result struct {
	wire
	text       string
	failed     bool
	structured map[string]any
}

// call calls a tool; header are pairs.
func (a *app) call(tool string, header ...string) result {
	a.t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": map[string]any{}}})
	if err != nil {
		a.t.Fatal(err)
	}
	answer := a.send("/mcp", "application/json", string(body), append(header, "Authorization", "Bearer "+a.access,
		"Accept", "application/json, text/event-stream", "MCP-Protocol-Version", "2025-06-18")...)
	r := result{wire: answer}
	inner, _ := answer.body["result"].(map[string]any)
	r.failed, _ = inner["isError"].(bool)
	r.structured, _ = inner["structuredContent"].(map[string]any)
	if content, _ := inner["content"].([]any); len(content) > 0 {
		first, _ := content[0].(map[string]any)
		r.text, _ = first["text"].(string)
	}
	return r
}

func (a *app) send(path, contentType, body string, header ...string) wire {
	a.t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	answer, err := a.Post(a.t.Context(), a.Issuer+path, contentType, []byte(body), h)
	if err != nil {
		a.t.Fatal(err)
	}
	w := wire{status: answer.Status, header: answer.Header}
	if len(answer.Body) > 0 {
		if err := json.Unmarshal(answer.Body, &w.body); err != nil {
			a.t.Fatalf("%s: %d %s", path, answer.Status, answer.Body)
		}
	}
	return w
}

// withHeader sends a header with every request.
type withHeader struct{ name, value string }

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return http.DefaultTransport.RoundTrip(r)
}
