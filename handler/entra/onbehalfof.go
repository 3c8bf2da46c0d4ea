package entra

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"entramcp/handler/secret"
)

// APIToken is an access token with which this server calls another API as a
// user.
type APIToken struct{ secret.Value }

// SignedIn is the sign-in of a user on whose behalf other APIs are called. Its owner
// implements it.
type SignedIn interface {
	// ID identifies the sign-in; tokens are cached under it.
	ID() string
	// Tokens are what Entra gave for the sign-in.
	Tokens(context.Context) (Assertion, error)
	// Renewed stores the tokens that replace Tokens. It fails if they are another
	// user's.
	Renewed(context.Context, SignIn) error
	// Challenged keeps a claims challenge for the user's next sign-in. It returns no
	// error: a challenge that was not stored comes again.
	Challenged(ctx context.Context, claims string)
}

// Assertion is the user's token for our API, which is what an on-behalf-of
// request presents, and the refresh token that renews it.
type Assertion struct {
	AccessToken AccessToken
	// Expires is when AccessToken ends; zero if there is none.
	Expires time.Time
	// RefreshToken is empty where the token cannot be renewed by us.
	RefreshToken RefreshToken
}

const (
	// early is how long before it expires a token is no longer used, because clocks
	// differ and calls take time.
	early = 2 * time.Minute
	// apiTokensKept bounds the cache, which has one token for each sign-in and API in
	// use. None is kept for longer than apiTokenKeptFor, even if it is valid for
	// longer.
	apiTokensKept   = 4096
	apiTokenKeptFor = time.Hour
)

// OnBehalfOf gets tokens for other APIs on behalf of signed-in users. It caches them
// in memory: each instance gets its own. It is safe for concurrent use.
type OnBehalfOf struct {
	client   *Client
	tokens   *lru.Cache[string, issuedToken]
	requests singleflight.Group // by sign-in and scopes
	renewals singleflight.Group // by sign-in
}

type issuedToken struct {
	token   APIToken
	expires time.Time
}

// NewOnBehalfOf uses c's app registration, which needs Config.APIScope.
func NewOnBehalfOf(c *Client) *OnBehalfOf {
	cache, _ := lru.New[string, issuedToken](apiTokensKept) // fails only for a size below 1
	return &OnBehalfOf{client: c, tokens: cache}
}

// Token returns a token for scopes of one API. Calls at the same time share one
// request, which continues when one of the callers gives up. Errors are an *Error,
// with a ConsentURL if consent is missing, or those of user.
func (o *OnBehalfOf) Token(ctx context.Context, user SignedIn, scopes ...string) (APIToken, error) {
	key := cacheKey(user, scopes)
	if hit, ok := o.tokens.Get(key); ok && o.client.deps.Now().Before(hit.expires) {
		return hit.token, nil
	}
	return shared(ctx, &o.requests, key, o.client.patience(), func(ctx context.Context) (APIToken, error) {
		token, expires, err := o.exchange(ctx, user, scopes)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); ok && e.Claims != "" {
				user.Challenged(ctx, e.Claims)
			}
			return APIToken{}, err
		}
		limit := o.client.deps.Now().Add(apiTokenKeptFor)
		if expires = expires.Add(-early); expires.After(limit) {
			expires = limit
		}
		o.tokens.Add(key, issuedToken{token, expires})
		return token, nil
	})
}

// Refused forgets token, which the API did not accept, so that the next call
// of Token gets another.
func (o *OnBehalfOf) Refused(user SignedIn, token APIToken, scopes ...string) {
	key := cacheKey(user, scopes)
	if held, ok := o.tokens.Peek(key); ok && held.token.Equal(token.Value) {
		o.tokens.Remove(key)
	}
}

func cacheKey(user SignedIn, scopes []string) string {
	return user.ID() + " " + strings.Join(slices.Sorted(slices.Values(scopes)), " ")
}

// assertionExpired is Entra's error number for an assertion that has expired by
// Entra's clock. It says nothing about the sign-in.
const assertionExpired = 500133

func (o *OnBehalfOf) exchange(ctx context.Context, user SignedIn, scopes []string) (APIToken, time.Time, error) {
	held, err := user.Tokens(ctx)
	if err != nil {
		return APIToken{}, time.Time{}, err
	}
	assertion, renewed := held.AccessToken, false
	if !held.RefreshToken.IsZero() && (assertion.IsZero() || !o.client.deps.Now().Add(early).Before(held.Expires)) {
		if assertion, err = o.renew(ctx, user, held.RefreshToken); err != nil {
			return APIToken{}, time.Time{}, err
		}
		renewed = true
	}
	if assertion.IsZero() {
		return APIToken{}, time.Time{}, refused("Microsoft Entra ID gave this server no token with which it could call other APIs for you.",
			signInAgain, SignInOver, errors.New("neither an access token for our API nor a refresh token"))
	}
	token, expires, err := o.client.onBehalfOf(ctx, assertion, scopes)
	if e, ok := errors.AsType[*Error](err); ok && !renewed && !held.RefreshToken.IsZero() && e.AADSTS == assertionExpired {
		if assertion, err = o.renew(ctx, user, held.RefreshToken); err != nil {
			return APIToken{}, time.Time{}, err
		}
		return o.client.onBehalfOf(ctx, assertion, scopes)
	}
	return token, expires, err
}

// renew gets a new token of the user for our own API and has it stored. Requests for
// several APIs at the same time renew it once.
func (o *OnBehalfOf) renew(ctx context.Context, user SignedIn, refreshToken RefreshToken) (AccessToken, error) {
	return shared(ctx, &o.renewals, user.ID(), o.client.patience(), func(ctx context.Context) (AccessToken, error) {
		signIn, err := o.client.Refresh(ctx, refreshToken)
		if err != nil {
			return AccessToken{}, err
		}
		if err := user.Renewed(ctx, signIn); err != nil {
			return AccessToken{}, err
		}
		return signIn.AccessToken, nil
	})
}

// patience is the time limit of work that several callers share: a renewal, an
// exchange and the storage between them.
func (c *Client) patience() time.Duration { return 3 * c.cfg.Timeout }

// onBehalfOf exchanges the user's token for our API for one that calls another
// API as that user. Every error is an *Error: ConsentNeeded carries a link for
// these scopes, InteractionNeeded the claims challenge.
//
// The request goes through the same code as sign-in and renewal, not through
// azidentity.OnBehalfOfCredential: azidentity and MSAL refuse any authority that is
// not https, so tests with the simulated tenant on loopback would be impossible, and
// their errors contain the claims challenge and the error numbers only in an unparsed
// response body.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow
func (c *Client) onBehalfOf(ctx context.Context, userToken AccessToken, scopes []string) (APIToken, time.Time, error) {
	if c.cfg.APIScope == "" {
		return APIToken{}, time.Time{}, refused("This server cannot call other APIs for its users yet.",
			"The administrator exposes an API scope in the app registration and names it in ENTRA_API_SCOPE.", Misconfigured, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.requestTokens(ctx, c.tenantOf(userToken), url.Values{
		"grant_type":          {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"requested_token_use": {"on_behalf_of"},
		"assertion":           {userToken.Reveal()},
		"scope":               {strings.Join(scopes, " ")},
	})
	if err != nil {
		return APIToken{}, time.Time{}, c.linked(err, scopes)
	}
	return APIToken{secret.New(t.AccessToken)}, c.deps.Now().Add(time.Duration(t.ExpiresIn)), nil
}

// tenantOf is the tenant whose token endpoint accepts the user's token. An endpoint
// for many tenants refuses it (AADSTS9001023).
func (c *Client) tenantOf(userToken AccessToken) string {
	switch c.cfg.Tenant {
	case organizations, common, consumers:
		if tid := peek(userToken.Reveal()).TenantID; isGUID(tid) {
			return strings.ToLower(tid)
		}
	}
	return c.cfg.Tenant
}
