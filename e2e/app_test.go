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

// server is a *stack.Stack or a *stack.Local, on a computer that trusts it.
type server interface {
	MCP() string
	Client() *http.Client
	Browser(user string) *stack.Browser
}

// newApp registers a client at the server.
func newApp(t *testing.T, s server, user string) *app {
	t.Helper()
	a := &app{t: t, Client: oauthclient.New(strings.TrimSuffix(s.MCP(), "/mcp"), appCallback), browser: s.Browser(user)}
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
	if answer.Status != http.StatusOK {
		a.t.Fatalf("sign-in: %v, then %+v", q, answer)
	}
	return a
}

// renew uses the refresh token.
func (a *app) renew() oauthclient.Answer {
	a.t.Helper()
	return a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.refresh}})
}

func (a *app) token(form url.Values) oauthclient.Answer {
	a.t.Helper()
	form.Set("client_id", a.ID)
	answer := a.send("/token", "application/x-www-form-urlencoded", form.Encode())
	if answer.Status == http.StatusOK {
		a.access, a.refresh = answer.Member("access_token"), answer.Member("refresh_token")
	}
	return answer
}

// result is that of a tool.
type result struct {
	oauthclient.Answer
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
	var message struct {
		Result struct {
			IsError           bool
			StructuredContent map[string]any
			Content           []struct{ Text string }
		}
	}
	_ = json.Unmarshal(answer.Body, &message) // a refusal is another kind of object, or none
	r := result{Answer: answer, failed: message.Result.IsError, structured: message.Result.StructuredContent}
	if content := message.Result.Content; len(content) > 0 {
		r.text = content[0].Text
	}
	return r
}

func (a *app) send(path, contentType, body string, header ...string) oauthclient.Answer {
	a.t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	answer, err := a.Post(a.t.Context(), a.Issuer+path, contentType, []byte(body), h)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer
}

// withHeader sends a header with every request.
type withHeader struct{ name, value string }

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return http.DefaultTransport.RoundTrip(r)
}
