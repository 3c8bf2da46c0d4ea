// Package oauthclient is an MCP client's part of the protocol: it registers,
// asks for authorization and for tokens, and hides nothing of what the server
// answers. The commands of a local run, the end-to-end tests and the benchmarks
// have it in common; the server that is deployed does not contain it.
package oauthclient

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/oauth"
)

// Endpoints are the members of the authorization server metadata that a client
// uses (RFC 8414 §2).
type Endpoints struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Registration  string `json:"registration_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	Introspection string `json:"introspection_endpoint"`
}

// At are the endpoints of this server under its public URL.
func At(issuer string) Endpoints {
	return Endpoints{issuer, issuer + "/authorize", issuer + "/token", issuer + "/register", issuer + "/revoke", issuer + "/introspect"}
}

// Client is a client that is registered, or about to be.
type Client struct {
	Endpoints
	// Resource is the MCP endpoint (RFC 8707); empty leaves it out.
	Resource string
	// RedirectURI is where the answer to an authorization is sent.
	RedirectURI string
	// ID and, of a confidential client, Secret are what it was registered with.
	ID, Secret string
	// HTTP is http.DefaultClient, if nil. It follows no redirect of its own.
	HTTP *http.Client
}

// New is a client of the server under that public URL.
func New(issuer, redirectURI string) *Client {
	return &Client{Endpoints: At(issuer), Resource: issuer + "/mcp", RedirectURI: redirectURI}
}

// Answer is what an endpoint said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// String is for the messages of tests: the status and the beginning of the body.
func (a Answer) String() string { return fmt.Sprintf("%d %.500s", a.Status, a.Body) }

// Member is a text in the JSON object, and empty if there is none.
func (a Answer) Member(name string) string {
	var object map[string]any
	if json.Unmarshal(a.Body, &object) != nil {
		return ""
	}
	text, _ := object[name].(string)
	return text
}

// Wanted is an error unless the status is that.
func (a Answer) Wanted(status int) error {
	if a.Status == status {
		return nil
	}
	return fmt.Errorf("status %d, want %d: %.500s", a.Status, status, a.Body)
}

// Tokens are those of a successful answer of the token endpoint.
type Tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
}

// Tokens fails for every other answer.
func (a Answer) Tokens() (t Tokens, err error) {
	if err := a.Wanted(http.StatusOK); err != nil {
		return t, err
	}
	if err := json.Unmarshal(a.Body, &t); err != nil || t.Access == "" {
		return t, fmt.Errorf("no access token in %.500s", a.Body)
	}
	return t, nil
}

// Public is the metadata of a public client.
func (c *Client) Public(name string) map[string]any {
	return map[string]any{
		"client_name": name, "redirect_uris": []string{c.RedirectURI}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"},
	}
}

// Register registers the client (RFC 7591) and, if that succeeds, takes the id
// and secret that it is given.
func (c *Client) Register(ctx context.Context, metadata map[string]any) (Answer, error) {
	body, err := json.Marshal(metadata)
	if err != nil {
		return Answer{}, err
	}
	a, err := c.Post(ctx, c.Registration, "application/json", body, nil)
	if err == nil && a.Status == http.StatusCreated {
		c.ID, c.Secret = a.Member("client_id"), a.Member("client_secret")
	}
	return a, err
}

// Request is an authorization request and what the client keeps of it.
type Request struct {
	URL, State, Verifier string
}

// Request begins an authorization. The parameters of more come on top of the
// usual ones, in the place of those of the same name.
func (c *Client) Request(more url.Values) Request {
	r := Request{State: rand.Text(), Verifier: oauth.NewVerifier()}
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {c.RedirectURI}, "state": {r.State},
		"code_challenge": {oauth.S256(r.Verifier)}, "code_challenge_method": {"S256"},
	}
	if c.Resource != "" {
		q.Set("resource", c.Resource)
	}
	maps.Copy(q, more)
	r.URL = c.Authorization + "?" + q.Encode()
	return r
}

// Code takes the code from the answer to r. It is an error if the server sent
// another, or if the answer belongs to another request or server (RFC 9207).
func (c *Client) Code(r Request, answer url.Values) (string, error) {
	switch {
	case answer.Get("error") != "":
		return "", fmt.Errorf("%s: %s", answer.Get("error"), answer.Get("error_description"))
	case answer.Get("state") != r.State:
		return "", fmt.Errorf("the answer has the state %q", answer.Get("state"))
	case answer.Get("iss") != c.Issuer:
		return "", fmt.Errorf("the answer is from %q", answer.Get("iss"))
	case answer.Get("code") == "":
		return "", fmt.Errorf("no code in %v", answer)
	}
	return answer.Get("code"), nil
}

// Redeem exchanges the code that r brought.
func (c *Client) Redeem(ctx context.Context, r Request, code string) (Answer, error) {
	return c.Form(ctx, c.Token, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.RedirectURI}, "code_verifier": {r.Verifier}})
}

// Renew exchanges a refresh token.
func (c *Client) Renew(ctx context.Context, refreshToken string) (Answer, error) {
	return c.Form(ctx, c.Token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
}

// Revoke revokes a token (RFC 7009).
func (c *Client) Revoke(ctx context.Context, token string) (Answer, error) {
	return c.Form(ctx, c.Revocation, url.Values{"token": {token}})
}

// Introspect asks about a token (RFC 7662).
func (c *Client) Introspect(ctx context.Context, token string) (Answer, error) {
	return c.Form(ctx, c.Introspection, url.Values{"token": {token}})
}

// Form posts a form with the client's credentials, which those of the form
// override.
func (c *Client) Form(ctx context.Context, endpoint string, form url.Values) (Answer, error) {
	f := url.Values{"client_id": {c.ID}}
	if c.Secret != "" {
		f.Set("client_secret", c.Secret)
	}
	maps.Copy(f, form)
	return c.Post(ctx, endpoint, "application/x-www-form-urlencoded", []byte(f.Encode()), nil)
}

// Post sends body as it is. It ends after 20 seconds at the latest.
func (c *Client) Post(ctx context.Context, address, contentType string, body []byte, header http.Header) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", contentType)
	began := time.Now()
	res, err := cmp.Or(c.HTTP, http.DefaultClient).Do(req)
	if err != nil {
		return Answer{Took: time.Since(began)}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	// An answer of MCP may be an event stream of one event.
	if _, data, ok := bytes.Cut(text, []byte("data: ")); ok && strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		text, _, _ = bytes.Cut(data, []byte("\n"))
	}
	return Answer{res.StatusCode, res.Header, text, time.Since(began)}, err
}

// SignIn goes from the registration to the tokens. approve is the person at the
// browser: it is given the authorization request and returns the answer.
func (c *Client) SignIn(ctx context.Context, metadata map[string]any, more url.Values, approve func(authorizationURL string) (*url.URL, error)) (Tokens, error) {
	if c.ID == "" {
		a, err := c.Register(ctx, metadata)
		if err == nil {
			err = a.Wanted(http.StatusCreated)
		}
		if err != nil {
			return Tokens{}, fmt.Errorf("registration: %w", err)
		}
	}
	r := c.Request(more)
	back, err := approve(r.URL)
	if err != nil {
		return Tokens{}, err
	}
	code, err := c.Code(r, back.Query())
	if err != nil {
		return Tokens{}, err
	}
	a, err := c.Redeem(ctx, r, code)
	if err != nil {
		return Tokens{}, err
	}
	return a.Tokens()
}
