package handler

import (
	"context"
	"errors"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/expirable"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/tools"
)

// grantReader defers to the grants, which are made after the tools because
// they need to know the tools' scopes.
type grantReader struct{ server *Server }

func (r grantReader) Get(ctx context.Context, subject grants.Subject, grantID string) (grants.Grant, error) {
	return r.server.grants.Get(ctx, subject, grantID)
}

// onBehalfOf gets tokens for other APIs in the name of a grant's user. It keeps
// them in memory only: another instance gets its own.
type onBehalfOf struct {
	server *Server
	cache  *lru.LRU[string, issued]
}

type issued struct {
	token   tools.APIToken
	expires time.Time
}

// early is how long before its end a token is no longer used, for clocks that
// disagree and calls that take their time.
const early = 2 * time.Minute

// tokensKept bounds the cache, which has one token for each grant and API in
// use. None is kept for longer than keptFor, though it may be good for longer.
const (
	tokensKept = 4096
	keptFor    = time.Hour
)

func newOnBehalfOf(s *Server) *onBehalfOf {
	return &onBehalfOf{server: s, cache: lru.NewLRU[string, issued](tokensKept, nil, keptFor)}
}

// Token exchanges the user's token for our API for one with scopes, renewing
// the former first if it has expired. Errors are those of *entra.Failure and
// of *oauth.Error. A claims challenge is kept for the user's next sign-in.
func (o *onBehalfOf) Token(ctx context.Context, grant grants.Grant, scopes ...string) (tools.APIToken, error) {
	key := grant.ID + " " + strings.Join(scopes, " ")
	if hit, ok := o.cache.Get(key); ok && o.server.deps.Now().Add(early).Before(hit.expires) {
		return hit.token, nil
	}
	token, expires, err := o.exchange(ctx, grant, scopes)
	if err != nil {
		return "", o.remembered(ctx, grant, err)
	}
	o.cache.Add(key, issued{tools.APIToken(token), expires})
	return tools.APIToken(token), nil
}

// assertionExpired is Entra's number for a user token that is past its time by
// Entra's clock. It says nothing about the sign-in.
const assertionExpired = 500133

func (o *onBehalfOf) exchange(ctx context.Context, grant grants.Grant, scopes []string) (string, time.Time, error) {
	upstream, err := o.server.grants.Upstream(ctx, grant)
	if err != nil {
		return "", time.Time{}, err
	}
	user := upstream.APIToken.Reveal()
	fresh := user == "" || !o.server.deps.Now().Add(early).Before(upstream.APITokenExpires)
	if fresh {
		if user, err = o.renew(ctx, grant, upstream); err != nil {
			return "", time.Time{}, err
		}
	}
	token, expires, err := o.server.entra.OnBehalfOf(ctx, user, scopes)
	var f *entra.Failure
	if !fresh && errors.As(err, &f) && f.AADSTS == assertionExpired {
		if user, err = o.renew(ctx, grant, upstream); err != nil {
			return "", time.Time{}, err
		}
		return o.server.entra.OnBehalfOf(ctx, user, scopes)
	}
	return token, expires, err
}

// renew gets a new user's token for our own API, which is the assertion of an
// on-behalf-of request, and keeps it in the grant.
func (o *onBehalfOf) renew(ctx context.Context, grant grants.Grant, old grants.Upstream) (string, error) {
	renewed, err := o.server.entra.Refresh(ctx, old.RefreshToken.Reveal())
	if err != nil {
		return "", err
	}
	if c := renewed.Claims; c != nil && grants.SubjectOf(c.TenantID, c.ObjectID) != grant.Subject {
		return "", oauth.Unavailable("The sign-in service answered for somebody else.", time.Minute, errors.New("entra renewed another user's tokens"))
	}
	upstream := grants.Upstream{
		RefreshToken: grants.EntraRefreshToken{Value: secret.New(renewed.RefreshToken)},
		APIToken:     grants.EntraAccessToken{Value: secret.New(renewed.AccessToken)}, APITokenExpires: renewed.AccessTokenExpires,
	}
	if _, err := o.server.grants.UpdateUpstream(ctx, grant, upstream); err != nil {
		return "", err
	}
	return renewed.AccessToken, nil
}

// remembered keeps the claims challenge in err, if there is one. The error is
// the caller's either way: a challenge that was not kept comes again.
func (o *onBehalfOf) remembered(ctx context.Context, grant grants.Grant, err error) error {
	var f *entra.Failure
	if errors.As(err, &f) && f.Claims != "" {
		if lost := o.server.as.Remember(ctx, grant.Subject, f.Claims); lost != nil {
			o.server.deps.Log.WarnContext(ctx, "a claims challenge was not kept", "grant", grant, "cause", lost)
		}
	}
	return err
}
