package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Callback is what a sign-in is finished with: the code from the query, and
// the verifier and nonce that belong to its state.
type Callback struct{ Code, Verifier, Nonce string }

// LogValue hides the code and the verifier from slog.
func (Callback) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides them from encoders.
func (Callback) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// String hides them from fmt.
func (Callback) String() string { return redacted }

// GoString hides them from %#v.
func (Callback) GoString() string { return redacted }

// SignIn is who signed in and the tokens Entra gave for it. They never leave
// this server.
type SignIn struct {
	// Claims is nil if a renewal brought no ID token.
	Claims *Claims
	// RefreshToken is the one to use from now on.
	RefreshToken string
	// AccessToken is for Config.APIScope, or without one for Microsoft Graph.
	AccessToken        string
	AccessTokenExpires time.Time
	Scope              string
}

// LogValue hides the tokens.
func (s SignIn) LogValue() slog.Value {
	return slog.GroupValue(slog.String("scope", s.Scope), slog.Time("expires", s.AccessTokenExpires))
}

// MarshalText hides the tokens from encoders.
func (SignIn) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// String hides the tokens from fmt.
func (SignIn) String() string { return redacted }

// GoString hides the tokens from %#v.
func (SignIn) GoString() string { return redacted }

// Exchange redeems a code and verifies the ID token that comes with it, all
// within Config.Timeout. Every error is a *Failure.
func (c *Client) Exchange(ctx context.Context, cb Callback) (SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {cb.Code},
		"code_verifier": {cb.Verifier},
		"redirect_uri":  {c.cfg.RedirectURI},
		"scope":         {strings.Join(c.scopes, " ")},
	})
	if err != nil {
		return SignIn{}, c.linked(err, c.scopes)
	}
	claims, err := c.verifyIDToken(ctx, t.IDToken, &cb.Nonce)
	if err != nil {
		return SignIn{}, err
	}
	if claims.GroupsOverage {
		c.deps.Log.InfoContext(ctx, "a user is in more groups than a token can list; groups decide nothing here: assign app roles to the groups that matter")
	}
	return c.signIn(ctx, t, claims), nil
}

// Refresh renews tokens within Config.Timeout. Every error is a *Failure; one
// whose EndsGrant is false leaves the old refresh token as good as it was. The
// claims, if any came, are verified but not compared with those of the sign-in:
// the caller does that.
func (c *Client) Refresh(ctx context.Context, refreshToken string) (SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {refreshToken},
		"scope":         {strings.Join(c.scopes, " ")},
	})
	if err != nil {
		return SignIn{}, c.linked(err, c.scopes)
	}
	var claims *Claims
	if t.IDToken != "" {
		// An ID token of a renewal has no nonce (OpenID Connect Core §12.2).
		if claims, err = c.verifyIDToken(ctx, t.IDToken, nil); err != nil {
			return SignIn{}, err
		}
	}
	if t.RefreshToken == "" {
		t.RefreshToken = refreshToken // RFC 6749 §6: none means keep the old one
	}
	return c.signIn(ctx, t, claims), nil
}

func (c *Client) signIn(ctx context.Context, t tokenResponse, claims *Claims) SignIn {
	c.observeVersion(ctx, t.AccessToken)
	return SignIn{
		Claims: claims, RefreshToken: t.RefreshToken, AccessToken: t.AccessToken,
		AccessTokenExpires: c.deps.Now().Add(time.Duration(t.ExpiresIn) * time.Second), Scope: t.Scope,
	}
}

func (c *Client) linked(err error, scopes []string) error {
	f := AsFailure(err)
	c.link(f, scopes)
	return f
}

// observeVersion remembers the version of the access token for our own API. It
// is not for us to accept or refuse: it only goes back to Entra as an
// assertion. A v1 token there means that the app registration says so, which
// APITokenVersion tells.
func (c *Client) observeVersion(ctx context.Context, token string) {
	if c.cfg.APIScope == "" {
		return
	}
	claims := peek(token)
	if claims.Version == "" {
		return
	}
	if previous := c.apiTokenVersion.Swap(claims.Version); previous != claims.Version && claims.Version != "2.0" {
		c.deps.Log.WarnContext(ctx, "Entra issues version 1 access tokens for our API", "fix", "set "+TokenVersionSetting)
	}
}

// peeked is what we look at in access tokens that Entra gave us. They came from
// its token endpoint by TLS and go back there: nothing is granted on the
// strength of it.
type peeked struct {
	Version  string `json:"ver"`
	TenantID string `json:"tid"`
}

// peek reads the claims of a JWT without verifying it; the zero value means
// that it is none.
func peek(token string) peeked {
	var claims peeked
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return peeked{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return peeked{}
	}
	return claims
}
