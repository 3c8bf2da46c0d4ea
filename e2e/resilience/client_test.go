// Package resilience proves what happens when several handler processes serve
// at once, when one of them is killed, and when what they depend on fails. All
// of it is seen through the eyes of a client.
package resilience

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
)

func TestMain(m *testing.M) { os.Exit(stack.Main(m)) }

// client is an MCP client and the person in front of it.
type client struct {
	oauthclient.Client
	t       *testing.T
	browser *stack.Browser
	name    string
}

// newClient is a client of s that is not registered yet. Its name is its own,
// and so is the registration that is made for it.
func newClient(t *testing.T, s *stack.Stack) *client {
	c := &client{t: t, Client: *oauthclient.New(s.URL, "http://127.0.0.1:8977/callback"), browser: stack.NewBrowser(stack.Alice), name: "client " + rand.Text()}
	c.HTTP = &http.Client{Timeout: 20 * time.Second}
	return c
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
	there.HTTP = &http.Client{Timeout: c.HTTP.Timeout, Transport: to(c.Issuer, i)}
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

// said takes what came of a request. A request that got no answer is an error
// of the test.
func (c *client) said(a oauthclient.Answer, err error) answer {
	c.t.Helper()
	if err != nil {
		c.t.Error(err)
	}
	return answer{a.Status, a.Header, string(a.Body), a.Took}
}

func (c *client) post(path, contentType, body string, header http.Header) answer {
	c.t.Helper()
	return c.said(c.Post(c.t.Context(), c.Issuer+path, contentType, []byte(body), header))
}

func (c *client) get(path string) answer {
	c.t.Helper()
	began := time.Now()
	res, err := c.HTTP.Get(c.Issuer + path)
	if err != nil {
		return c.said(oauthclient.Answer{}, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return c.said(oauthclient.Answer{Status: res.StatusCode, Header: res.Header, Body: body, Took: time.Since(began)}, err)
}

func (c *client) register(authMethod string) answer {
	c.t.Helper()
	metadata := c.Public(c.name)
	metadata["token_endpoint_auth_method"] = authMethod
	return c.said(c.Register(c.t.Context(), metadata))
}

func (c *client) registered(authMethod string) *client {
	c.t.Helper()
	if a := c.register(authMethod); a.status != http.StatusCreated {
		c.t.Fatalf("registration: %d %s", a.status, a.body)
	}
	return c
}

// authorizeURL is a new authorization request and the verifier behind it.
func (c *client) authorizeURL() (address, verifier string) {
	r := c.Request(url.Values{"scope": {"openid profile email offline_access User.Read"}})
	return r.URL, r.Verifier
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
	return c.said(c.Redeem(c.t.Context(), oauthclient.Request{Verifier: verifier}, code))
}

func (c *client) refresh(token string) answer {
	c.t.Helper()
	return c.said(c.Renew(c.t.Context(), token))
}

func (c *client) revoke(token string) answer {
	c.t.Helper()
	return c.said(c.Revoke(c.t.Context(), token))
}

func (c *client) introspect(token string) answer {
	c.t.Helper()
	return c.said(c.Introspect(c.t.Context(), token))
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
