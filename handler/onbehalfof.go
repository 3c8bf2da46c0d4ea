package handler

import (
	"context"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/expirable"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
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

func newOnBehalfOf(s *Server) *onBehalfOf {
	return &onBehalfOf{server: s, cache: lru.NewLRU[string, issued](4096, nil, time.Hour)}
}

// Token exchanges the user's token for our API for one with scopes, renewing
// the former first if it has expired. Errors are those of *entra.Failure and
// of *oauth.Error.
func (o *onBehalfOf) Token(ctx context.Context, grant grants.Grant, scopes ...string) (tools.APIToken, error) {
	key := grant.ID + " " + strings.Join(scopes, " ")
	now := o.server.deps.Now()
	if hit, ok := o.cache.Get(key); ok && now.Add(early).Before(hit.expires) {
		return hit.token, nil
	}
	user, err := o.userToken(ctx, grant)
	if err != nil {
		return "", err
	}
	token, expires, err := o.server.entra.OnBehalfOf(ctx, user, scopes)
	if err != nil {
		return "", err
	}
	o.cache.Add(key, issued{tools.APIToken(token), expires})
	return tools.APIToken(token), nil
}

// userToken is the user's token for our own API, which is the assertion of an
// on-behalf-of request.
func (o *onBehalfOf) userToken(ctx context.Context, grant grants.Grant) (string, error) {
	upstream, err := o.server.grants.Upstream(ctx, grant)
	if err != nil {
		return "", err
	}
	now := o.server.deps.Now()
	if upstream.APIToken != "" && now.Add(early).Before(upstream.APITokenExpires) {
		return upstream.APIToken, nil
	}
	renewed, err := o.server.entra.Refresh(ctx, upstream.RefreshToken)
	if err != nil {
		return "", err
	}
	upstream = merge(upstream, renewed)
	if _, err := o.server.grants.UpdateUpstream(ctx, grant, upstream); err != nil {
		return "", err
	}
	return upstream.APIToken, nil
}

// merge keeps the refresh token if Entra did not send another.
func merge(old grants.Upstream, s entra.SignIn) grants.Upstream {
	up := grants.Upstream{RefreshToken: s.RefreshToken, APIToken: s.AccessToken, APITokenExpires: s.AccessTokenExpires}
	if up.RefreshToken == "" {
		up.RefreshToken = old.RefreshToken
	}
	return up
}
