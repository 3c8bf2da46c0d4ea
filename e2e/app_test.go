package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

const (
	appCallback = "http://127.0.0.1:8977/callback"
	appVerifier = "0123456789012345678901234567890123456789abc"
)

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// app is an MCP client that shows what the wire shows: statuses, headers and
// OAuth errors that SDKs keep to themselves.
type app struct {
	t       *testing.T
	url     string
	id      string
	http    *http.Client
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
	return registered(t, &app{t: t, url: server, http: http.DefaultClient, browser: stack.NewBrowser(user)})
}

// newAppOf is newApp on a computer that trusts the stack.
func newAppOf(t *testing.T, s *stack.Stack, user string) *app {
	t.Helper()
	return registered(t, &app{t: t, url: s.URL, http: s.Client(), browser: s.Browser(user)})
}

func registered(t *testing.T, a *app) *app {
	t.Helper()
	answer := a.send("/register", "application/json", `{"client_name":"wire","redirect_uris":["`+appCallback+`"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`)
	if a.id = answer.text("client_id"); a.id == "" {
		t.Fatalf("register: %+v", answer)
	}
	return a
}

// authorize takes the user through consent and sign-in and returns what
// reaches the client.
func (a *app) authorize(scopes ...string) url.Values {
	a.t.Helper()
	u, err := a.browser.Approve(a.url + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {appCallback}, "state": {"app state"},
		"code_challenge": {challengeOf(appVerifier)}, "code_challenge_method": {"S256"},
		"scope": {strings.Join(scopes, " ")}, "resource": {a.url + "/mcp"},
	}.Encode())
	if err != nil {
		a.t.Fatal(err)
	}
	if q := u.Query(); q.Get("state") != "app state" || q.Get("iss") != a.url {
		a.t.Fatalf("the client got another's answer: %v", q)
	}
	return u.Query()
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
	form.Set("client_id", a.id)
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
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := a.http.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	// An answer of MCP may be an event stream of one event.
	if _, data, ok := bytes.Cut(text, []byte("data: ")); ok && strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		text, _, _ = bytes.Cut(data, []byte("\n"))
	}
	w := wire{status: res.StatusCode, header: res.Header}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &w.body); err != nil {
			a.t.Fatalf("%s: %d %s", path, res.StatusCode, text)
		}
	}
	return w
}
