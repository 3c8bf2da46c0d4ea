// Package entra is the confidential client of Microsoft Entra ID: it makes the URL to
// sign in at, redeems the code, verifies the ID token, renews and exchanges tokens,
// and explains Entra's errors. It also verifies access tokens that callers got from
// Entra directly.
package entra

import (
	"context"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// Client uses one app registration in one tenant, or at one of the endpoints for many
// tenants. It is safe for concurrent use.
type Client struct {
	cfg        Config
	deps       Deps
	credential credential
	http       *http.Client
	scopes     []string

	metadata *published[metadata]
	keys     *published[keySet]

	// apiTokenVersion is the "ver" of the last access token for APIScope, for
	// APITokenVersion.
	apiTokenVersion atomic.Value
	// skew is how far our clock was ahead of Entra's at its last answer.
	skew atomic.Int64
	// secretRefused is set while Entra says that our client secret has expired.
	secretRefused atomic.Bool
}

// New does no I/O. Its error names the setting that cannot be used.
func New(cfg Config, deps Deps) (*Client, error) {
	cfg = cfg.normalized()
	cloud, err := cfg.cloud()
	if err != nil {
		return nil, err
	}
	cfg.Authority = cloud.Authority
	if deps.HTTPClient == nil {
		deps.HTTPClient = http.DefaultClient
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}

	c := &Client{cfg: cfg, deps: deps, http: withoutRedirects(deps.HTTPClient)}
	c.scopes = []string{"openid", "profile", "email", "offline_access"}
	if cfg.APIScope != "" {
		c.scopes = append(c.scopes, cfg.APIScope)
	}
	if c.credential, err = newCredential(cfg, cloud, deps); err != nil {
		return nil, err
	}
	c.metadata = &published[metadata]{fetch: c.fetchMetadata, now: deps.Now, timeout: cfg.Timeout}
	c.keys = &published[keySet]{fetch: c.fetchKeys, now: deps.Now, timeout: cfg.Timeout}
	return c, nil
}

// withoutRedirects copies base. Entra's metadata, keys and token endpoints never
// redirect; following a redirect would send a credential to another host.
func withoutRedirects(base *http.Client) *http.Client {
	h := *base
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
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

// refreshEvery is how often metadata and keys are read again; Entra rolls keys
// about every six weeks but may do so at any moment.
// https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
const refreshEvery = time.Hour

// Run keeps metadata and keys fresh until ctx ends. If a read fails, the last good
// copy stays in use.
func (c *Client) Run(ctx context.Context) {
	for {
		// Jitter keeps many instances that started together apart.
		wait := refreshEvery - time.Duration(mathrand.Int64N(int64(refreshEvery/4)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		c.refreshPublished(ctx)
	}
}

func (c *Client) refreshPublished(ctx context.Context) {
	if _, err := c.metadata.refresh(ctx); err != nil {
		c.deps.Log.WarnContext(ctx, "Entra metadata could not be read again; the last copy is still used", "cause", err)
	}
	if _, err := c.keys.refresh(ctx); err != nil {
		c.deps.Log.WarnContext(ctx, "Entra signing keys could not be read again; the last copy is still used", "cause", err)
	}
}

// ClockAhead is by how much this machine's clock was ahead of Entra's at Entra's last
// answer.
func (c *Client) ClockAhead() time.Duration { return time.Duration(c.skew.Load()) }

// secretExpired is Entra's error number for a client secret that has expired.
const secretExpired = 7000222

// SecretRefused reports whether Entra's last answer to a token request was that the
// client secret has expired.
func (c *Client) SecretRefused() bool { return c.secretRefused.Load() }

// observeClock compares our clock with the Date of an answer of Entra's. If they
// differ by more than leeway, tokens are refused, by us or by Entra; this is logged
// once until the clocks agree again.
func (c *Client) observeClock(ctx context.Context, header http.Header) {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	skew := c.deps.Now().Sub(theirs)
	before := time.Duration(c.skew.Swap(int64(skew)))
	if skew.Abs() > leeway && before.Abs() <= leeway {
		c.deps.Log.WarnContext(ctx, "this machine's clock and Entra's are apart; tokens will be refused", "ahead", skew.Round(time.Second).String())
	}
}
