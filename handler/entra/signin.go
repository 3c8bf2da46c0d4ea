package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/secret"
)

// The parts of a sign-in. None of them is ever sent to an MCP client.
type (
	// Code is an authorization code of Entra's.
	Code struct{ secret.Value }
	// Verifier is the PKCE code verifier of one sign-in.
	Verifier struct{ secret.Value }
	// RefreshToken renews a sign-in.
	RefreshToken struct{ secret.Value }
	// AccessToken is a user's token for our own API.
	AccessToken struct{ secret.Value }
)

// AuthorizeRequest has the parameters of one sign-in. CodeChallenge is an S256 code
// challenge (RFC 7636 §4.2).
type AuthorizeRequest struct {
	State, Nonce, CodeChallenge string
	// Claims is a claims challenge from an earlier Error, or empty.
	Claims string
	// LoginHint preselects an account, or is empty.
	LoginHint string
	// Prompt is select_account or login; empty leaves it to Entra. With DomainHint
	// Entra does not ask for the account and goes to the organization's own page.
	Prompt, DomainHint string
	// Scopes are asked for instead of the fixed ones, to consent to another
	// API; the Callback needs the same.
	Scopes []string
}

// AuthorizeURL is where the browser signs in. It contains nothing from the MCP
// client's own request: Entra takes the resource parameter only where it equals an
// identifier URI (AADSTS9010010) and knows neither the client's scopes nor its PKCE;
// users who may not consent could not sign in with prompt=consent. The error is an
// *Error of kind Unavailable: the metadata was never read.
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
		"scope":                 {strings.Join(c.scopesOr(r.Scopes), " ")},
		"state":                 {r.State},
		"nonce":                 {r.Nonce},
		"code_challenge":        {r.CodeChallenge},
		"code_challenge_method": {"S256"},
	}
	if r.Claims != "" {
		q.Set("claims", r.Claims)
	}
	for name, value := range map[string]string{"login_hint": r.LoginHint, "prompt": r.Prompt, "domain_hint": r.DomainHint} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return m.AuthorizationEndpoint + "?" + q.Encode(), nil
}

// scopesOr are own or, if there are none, the fixed scopes.
func (c *Client) scopesOr(own []string) []string {
	if len(own) > 0 {
		return own
	}
	return c.scopes
}

// Callback is what Exchange needs: the code from the query, and the verifier and
// nonce that belong to its state.
type Callback struct {
	Code     Code
	Verifier Verifier
	Nonce    string
	// Scopes are those of the AuthorizeRequest.
	Scopes []string
}

// SignIn is who signed in and the tokens Entra gave for it.
type SignIn struct {
	// Claims is nil if a renewal brought no ID token.
	Claims *Claims
	// RefreshToken is the one to use from now on. It is empty if Entra gave
	// none, which means that the sign-in cannot be renewed.
	RefreshToken RefreshToken
	// AccessToken is for Config.APIScope. It is empty without one: then Entra's
	// token is for Microsoft Graph, and nobody here uses it.
	AccessToken        AccessToken
	AccessTokenExpires time.Time
	Scope              string
}

// LogValue leaves out who the user is.
func (s SignIn) LogValue() slog.Value {
	return slog.GroupValue(slog.String("scope", s.Scope), slog.Time("expires", s.AccessTokenExpires))
}

// Exchange redeems a code and verifies the ID token that comes with it, all
// within Config.Timeout. Every error is an *Error.
func (c *Client) Exchange(ctx context.Context, cb Callback) (SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	scopes := c.scopesOr(cb.Scopes)
	t, err := c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {cb.Code.Reveal()},
		"code_verifier": {cb.Verifier.Reveal()},
		"redirect_uri":  {c.cfg.RedirectURI},
		"scope":         {strings.Join(scopes, " ")},
	})
	if err != nil {
		return SignIn{}, c.linked(err, scopes)
	}
	claims, err := c.verifyIDToken(ctx, t.IDToken, &cb.Nonce)
	if err != nil {
		return SignIn{}, err
	}
	if claims.GroupsOverage {
		c.deps.Log.InfoContext(ctx, "a user is in more groups than a token can list; this server does not use groups: assign app roles to them")
	}
	if t.RefreshToken == "" {
		c.deps.Log.WarnContext(ctx, "Entra gave no refresh token; the sign-in ends with the first access token",
			"fix", "grant the delegated permission offline_access to the app registration, and look for a Conditional Access policy that forbids persistent sessions")
	}
	if len(cb.Scopes) == 0 { // otherwise the token is another API's
		c.observeVersion(ctx, t.AccessToken)
	}
	return c.signIn(t, claims), nil
}

// Refresh renews tokens within Config.Timeout. Every error is an *Error; if its
// EndsGrant is false, the old refresh token is still valid. The claims, if any came,
// are verified but not compared with those of the sign-in: the caller does that.
func (c *Client) Refresh(ctx context.Context, refreshToken RefreshToken) (SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {refreshToken.Reveal()},
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
		t.RefreshToken = refreshToken.Reveal() // RFC 6749 §6: none means keep the old one
	}
	c.observeVersion(ctx, t.AccessToken)
	return c.signIn(t, claims), nil
}

func (c *Client) signIn(t tokenResponse, claims *Claims) SignIn {
	s := SignIn{Claims: claims, RefreshToken: RefreshToken{secret.New(t.RefreshToken)}, Scope: t.Scope}
	if c.cfg.APIScope != "" {
		s.AccessToken = AccessToken{secret.New(t.AccessToken)}
		s.AccessTokenExpires = c.deps.Now().Add(time.Duration(t.ExpiresIn))
	}
	return s
}

// observeVersion keeps the version of the access token for our own API. We neither
// accept nor refuse that token, we only send it to Entra as an assertion. A version 1
// token is a setting of the app registration, which APITokenVersion reports.
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

// peeked is what we look at in access tokens that Entra gave us. They came from its
// token endpoint by TLS and go back there: nothing is granted because of it.
type peeked struct {
	Version  string `json:"ver"`
	TenantID string `json:"tid"`
}

// peek reads the claims of a JWT without verifying it; the zero value means that it
// is not a JWT.
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

// FromRedirect is the function FromRedirect, with a ConsentURL if an administrator's
// consent is missing.
func (c *Client) FromRedirect(query url.Values) *Error {
	e := FromRedirect(query)
	if e != nil {
		c.link(e, c.scopes)
	}
	return e
}

func (c *Client) linked(err error, scopes []string) error {
	e := AsError(err)
	c.link(e, scopes)
	return e
}

func (c *Client) link(e *Error, scopes []string) {
	if e.Kind == ConsentNeeded {
		e.ConsentURL = consentURL(c.cfg, scopes)
	}
}

// consentURL is the page on which an administrator consents for a whole
// tenant. The endpoint refuses "common" and "consumers": personal accounts
// have no administrator.
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
func consentURL(cfg Config, scopes []string) string {
	tenant := cfg.Tenant
	if tenant == common || tenant == consumers {
		tenant = organizations
	}
	return cfg.Authority + "/" + tenant + "/v2.0/adminconsent?" + url.Values{
		"client_id":    {cfg.ClientID},
		"scope":        {strings.Join(scopes, " ")},
		"redirect_uri": {cfg.RedirectURI},
	}.Encode()
}
