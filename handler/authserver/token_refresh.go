package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// refresh exchanges a refresh token (RFC 6749 §6).
func (s *Server) refresh(ctx context.Context, client clients.Client, f url.Values) (grants.Tokens, error) {
	if f.Get("refresh_token") == "" {
		return grants.Tokens{}, oauth.New(oauth.InvalidRequest, "The refresh_token is missing.")
	}
	var narrowed oauth.Scopes
	if f.Get("scope") != "" {
		narrowed = oauth.ParseScopes(f.Get("scope"))
	}
	return s.Grants.Refresh(ctx, grants.RefreshToken{Value: secret.New(f.Get("refresh_token"))}, client.ID, narrowed, s.renew)
}

// renew asks Entra whether the sign-in still holds. Only what Entra says about
// this user ends it, and a claims challenge is kept for the sign-in that then
// follows. An outage does not end it, nor does an operator's mistake: the
// client gets a 503 and can repeat the very same request.
func (s *Server) renew(ctx context.Context, old grants.Upstream, user grants.Identity) (grants.Renewal, error) {
	if old.RefreshToken.IsZero() {
		return grants.Renewal{}, fmt.Errorf("%w: Entra gave no refresh token", grants.ErrSignInOver)
	}
	signIn, err := s.Upstream.Refresh(ctx, old.RefreshToken.Reveal())
	if err != nil {
		f := entra.AsFailure(err)
		if f.EndsGrant() {
			if f.Claims != "" {
				if err := s.Remember(ctx, grants.SubjectOf(user.TenantID, user.ObjectID), f.Claims); err != nil {
					return grants.Renewal{}, err
				}
			}
			return grants.Renewal{}, errors.Join(grants.ErrSignInOver, f)
		}
		return grants.Renewal{}, f.AtToken()
	}
	renewal := grants.Renewal{Upstream: upstreamOf(signIn)}
	if signIn.Claims != nil {
		identity := identityOf(signIn.Claims)
		renewal.Identity = &identity
	}
	return renewal, nil
}
