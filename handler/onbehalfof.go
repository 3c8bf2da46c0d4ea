package handler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"entramcp/handler/authserver"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// onBehalfOf gets tools their tokens for other APIs: entra's exchange over the
// tokens that a grant holds.
type onBehalfOf struct {
	exchange *entra.OnBehalfOf
	grants   *grants.Service
	// challenges keeps a claims challenge for the user's next sign-in.
	challenges *authserver.ClaimsChallenges
	log        *slog.Logger
}

func (o *onBehalfOf) Token(ctx context.Context, grant grants.Grant, scopes ...string) (entra.APIToken, error) {
	return o.exchange.Token(ctx, signedIn{o, grant}, scopes...)
}

func (o *onBehalfOf) Refused(grant grants.Grant, token entra.APIToken, scopes ...string) {
	o.exchange.Refused(signedIn{o, grant}, token, scopes...)
}

// signedIn is a grant as entra sees it.
type signedIn struct {
	*onBehalfOf
	grant grants.Grant
}

func (s signedIn) ID() string {
	if s.grant.ID == "" { // a caller with a token of Entra's
		return string(s.grant.Subject) + " " + s.grant.ClientID
	}
	return s.grant.ID
}

func (s signedIn) Tokens(ctx context.Context) (entra.Assertion, error) {
	if !s.grant.Assertion.IsZero() {
		return entra.Assertion{AccessToken: entra.AccessToken(s.grant.Assertion), Expires: s.grant.AssertionExpires}, nil
	}
	held, err := s.grants.Upstream(ctx, s.grant)
	return entra.Assertion{
		AccessToken: entra.AccessToken(held.APIToken), Expires: held.APITokenExpires, RefreshToken: entra.RefreshToken(held.RefreshToken)}, err
}

func (s signedIn) Renewed(ctx context.Context, renewed entra.SignIn) error {
	if c := renewed.Claims; c != nil && grants.SubjectOf(c.TenantID, c.ObjectID) != s.grant.Subject {
		return oauth.Unavailable("The sign-in service answered for another user.", time.Minute, errors.New("entra renewed another user's tokens"))
	}
	_, err := s.grants.UpdateUpstream(ctx, s.grant, grants.Upstream{
		RefreshToken: grants.EntraRefreshToken(renewed.RefreshToken),
		APIToken:     grants.EntraAccessToken(renewed.AccessToken), APITokenExpires: renewed.AccessTokenExpires,
	})
	return err
}

func (s signedIn) Challenged(ctx context.Context, claims string) {
	if s.grant.ID == "" {
		return // the caller's own sign-in is not ours
	}
	if err := s.challenges.Keep(ctx, s.grant.Subject, claims); err != nil {
		s.log.WarnContext(ctx, "a claims challenge could not be stored", "grant", s.grant, "cause", err)
	}
}
