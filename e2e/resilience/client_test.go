// Package resilience proves what happens when several handler processes serve
// at once, when one of them is killed, and when what they depend on fails. All
// of it is seen through the eyes of a client.
package resilience

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// client is an MCP client and the person in front of it.
type client struct {
	t          *testing.T
	public     string
	http       *http.Client
	browser    *stack.Browser
	name       string
	redirect   string
	id, secret string
}

// newClient is a client of s that is not registered yet. Its name is its own,
// and so is the registration that is made for it.
func newClient(t *testing.T, s *stack.Stack) *client {
	return &client{
		t: t, public: s.URL, http: &http.Client{Timeout: 20 * time.Second}, browser: stack.NewBrowser(stack.Alice),
		name: "client " + rand.Text(), redirect: "http://127.0.0.1:8977/callback",
	}
}

// signedIn is a registered client with its first tokens.
func signedIn(t *testing.T, s *stack.Stack) (*client, tokens) {
	t.Helper()
	c := newClient(t, s).registered("none")
	code, verifier := c.signIn()
	return c, c.redeem(code, verifier).tokens(t)
}

// at is the same client with all its requests, not the person's, going to i.
func (c *client) at(i *stack.Instance) *client {
	there := *c
	there.http = &http.Client{Timeout: c.http.Timeout, Transport: to(c.public, i)}
	return &there
}

// to is a transport that leads the public URL to i.
func to(public string, i *stack.Instance) *http.Transport {
	host, target := strings.TrimPrefix(public, "http://"), strings.TrimPrefix(i.URL, "http://")
	return &http.Transport{
		// Go repeats requests on connections that were kept alive and died.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == host {
				address = target
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
}

// answer is what an endpoint said.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

func (c *client) do(req *http.Request) answer {
	c.t.Helper()
	began := time.Now()
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return answer{took: time.Since(began)}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return answer{res.StatusCode, res.Header, string(body), time.Since(began)}
}

func (c *client) get(path string) answer {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.public+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(req)
}

func (c *client) post(path, contentType, body string, header http.Header) answer {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.public+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	return c.do(req)
}

func (c *client) form(path string, f url.Values) answer {
	c.t.Helper()
	f.Set("client_id", c.id)
	if c.secret != "" {
		f.Set("client_secret", c.secret)
	}
	return c.post(path, "application/x-www-form-urlencoded", f.Encode(), nil)
}

func (c *client) register(authMethod string) answer {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{
		"client_name": c.name, "redirect_uris": []string{c.redirect}, "token_endpoint_auth_method": authMethod,
		"grant_types": []string{"authorization_code", "refresh_token"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.post("/register", "application/json", string(body), nil)
}

func (c *client) registered(authMethod string) *client {
	c.t.Helper()
	a := c.register(authMethod)
	if a.status != http.StatusCreated {
		c.t.Fatalf("registration: %d %s", a.status, a.body)
	}
	c.id, c.secret = a.text("client_id"), a.text("client_secret")
	return c
}

// authorizeURL is a new authorization request and the verifier behind it.
func (c *client) authorizeURL() (address, verifier string) {
	verifier = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	return c.public + "/authorize?" + url.Values{
		"client_id": {c.id}, "redirect_uri": {c.redirect}, "response_type": {"code"}, "state": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"scope": {"openid profile email offline_access User.Read"}, "resource": {c.public + "/mcp"},
	}.Encode(), verifier
}

// signIn lets the person approve and sign in.
func (c *client) signIn() (code, verifier string) {
	c.t.Helper()
	address, verifier := c.authorizeURL()
	back, err := c.browser.Approve(address)
	if err != nil {
		c.t.Fatal(err)
	}
	if code = back.Query().Get("code"); code == "" {
		c.t.Fatalf("no code but %s", back)
	}
	return code, verifier
}

func (c *client) redeem(code, verifier string) answer {
	c.t.Helper()
	return c.form("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code},
		"code_verifier": {verifier}, "redirect_uri": {c.redirect}})
}

func (c *client) refresh(token string) answer {
	c.t.Helper()
	return c.form("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func (c *client) revoke(token string) answer {
	c.t.Helper()
	return c.form("/revoke", url.Values{"token": {token}})
}

func (c *client) introspect(token string) answer {
	c.t.Helper()
	return c.form("/introspect", url.Values{"token": {token}})
}

// call calls a tool.
func (c *client) call(access string) answer {
	c.t.Helper()
	return c.tool(access, "greet", `{"name":"Ada"}`)
}

func (c *client) tool(access, name, arguments string) answer {
	c.t.Helper()
	return c.post("/mcp", "application/json",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+name+`","arguments":`+arguments+`}}`,
		http.Header{"Authorization": {"Bearer " + access}, "Accept": {"application/json, text/event-stream"},
			"Mcp-Protocol-Version": {"2025-06-18"}})
}

// tokens are a successful answer of the token endpoint.
type tokens struct{ access, refresh string }

func (a answer) tokens(t *testing.T) tokens {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("no tokens but %d %s", a.status, a.body)
	}
	return tokens{a.text("access_token"), a.text("refresh_token")}
}

// text is one member of a JSON object, or empty.
func (a answer) text(member string) string {
	var object map[string]any
	if json.Unmarshal([]byte(a.body), &object) != nil {
		return ""
	}
	s, _ := object[member].(string)
	return s
}

// is reports whether the answer has the status and, as an OAuth error, the code.
func (a answer) is(status int, code string) bool {
	return a.status == status && a.text("error") == code
}

// unavailable reports whether the answer is "try again later", and in time.
func (a answer) unavailable(within time.Duration) bool {
	return a.is(http.StatusServiceUnavailable, "temporarily_unavailable") && a.header.Get("Retry-After") != "" && a.took < within
}

// eventually waits until ok, for so long as limit.
func eventually(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
