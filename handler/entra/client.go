// Package entra is this server as a confidential client of Microsoft Entra ID:
// it sends browsers there, redeems the codes they bring back, verifies who
// signed in, renews and exchanges their tokens, and turns Entra's errors into
// what a person can do about them.
package entra

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Client talks to one tenant, or to one of the endpoints that stand for many,
// as one app registration. It is safe for concurrent use.
type Client struct {
	cfg        Config
	deps       Deps
	credential credential
	http       *http.Client
	scopes     []string

	metadata *document[metadata]
	keys     *document[keySet]

	// apiTokenVersion is the "ver" of the last access token for APIScope, for
	// APITokenVersion.
	apiTokenVersion atomic.Value
}

// New checks cfg and does no I/O. The error names every setting that is wrong.
func New(cfg Config, deps Deps) (*Client, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	if deps.HTTPClient == nil {
		deps.HTTPClient = http.DefaultClient
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Rand == nil {
		deps.Rand = rand.Reader
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}

	c := &Client{cfg: cfg, deps: deps, http: withoutRedirects(deps.HTTPClient)}
	c.scopes = []string{"openid", "profile", "email", "offline_access"}
	if cfg.APIScope != "" {
		c.scopes = append(c.scopes, cfg.APIScope)
	}
	if c.credential, err = newCredential(cfg, deps); err != nil {
		return nil, err
	}
	c.metadata = &document[metadata]{fetch: c.fetchMetadata, now: deps.Now, timeout: cfg.Timeout}
	c.keys = &document[keySet]{fetch: c.fetchKeys, now: deps.Now, timeout: cfg.Timeout}
	return c, nil
}

// withoutRedirects copies base. Entra's metadata, keys and token endpoints
// never redirect; following one would carry a credential to another host.
func withoutRedirects(base *http.Client) *http.Client {
	h := *base
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}

// AuthorizeRequest is what one sign-in adds to the fixed parameters. Challenge
// is an S256 code challenge (RFC 7636 §4.2).
type AuthorizeRequest struct {
	State, Nonce, Challenge string
	// Claims is a claims challenge from an earlier Failure, or empty.
	Claims string
	// LoginHint preselects an account, or is empty.
	LoginHint string
}

// AuthorizeURL is where the browser signs in. It holds nothing of the MCP
// client's own request: Entra refuses the resource parameter (AADSTS9010010)
// and knows neither the client's scopes nor its PKCE; prompt=consent would
// send users without the right to consent into a dead end.
// The error is a *Failure of kind Unavailable: the metadata was never read.
func (c *Client) AuthorizeURL(ctx context.Context, r AuthorizeRequest) (string, error) {
	m, err := c.metadata.get(ctx)
	if err != nil {
		return "", unreachable("metadata", err)
	}
	q := url.Values{
		"client_id":             {c.cfg.ClientID},
		"response_type":         {"code"},
		"response_mode":         {"query"},
		"redirect_uri":          {c.cfg.RedirectURI},
		"scope":                 {strings.Join(c.scopes, " ")},
		"state":                 {r.State},
		"nonce":                 {r.Nonce},
		"code_challenge":        {r.Challenge},
		"code_challenge_method": {"S256"},
	}
	if r.Claims != "" {
		q.Set("claims", r.Claims)
	}
	if r.LoginHint != "" {
		q.Set("login_hint", r.LoginHint)
	}
	return m.AuthorizationEndpoint + "?" + q.Encode(), nil
}

// Ready reports whether users can sign in: the metadata and at least one
// signing key are known.
func (c *Client) Ready(ctx context.Context) error {
	if _, err := c.metadata.get(ctx); err != nil {
		return fmt.Errorf("metadata of Entra: %w", err)
	}
	if _, err := c.keys.get(ctx); err != nil {
		return fmt.Errorf("signing keys of Entra: %w", err)
	}
	return nil
}
