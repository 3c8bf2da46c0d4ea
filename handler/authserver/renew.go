package authserver

import (
	"context"
	"errors"
	"fmt"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
)

// Renewer is how grants ask Entra whether a sign-in still holds: its Renew is a
// [grants.Renew].
type Renewer struct {
	// Upstream is an *entra.Client.
	Upstream interface {
		Refresh(context.Context, entra.RefreshToken) (entra.SignIn, error)
	}
	Challenges *ClaimsChallenges
}

// Renew asks Entra for new tokens. Only what Entra says about this user ends the
// sign-in, and a claims challenge is kept for the sign-in that then follows. An
// outage does not end it, nor does an operator's mistake: the client gets a 503
// and can repeat the very same request.
func (r Renewer) Renew(ctx context.Context, old grants.Upstream, user grants.Identity) (grants.Renewal, error) {
	if old.RefreshToken.IsZero() {
		return grants.Renewal{}, fmt.Errorf("%w: Entra gave no refresh token", grants.ErrSignInOver)
	}
	signIn, err := r.Upstream.Refresh(ctx, entra.RefreshToken(old.RefreshToken))
	if err != nil {
		e := entra.AsError(err)
		if !e.EndsGrant() {
			return grants.Renewal{}, e.AtToken()
		}
		if e.Claims != "" {
			if err := r.Challenges.Keep(ctx, grants.SubjectOf(user.TenantID, user.ObjectID), e.Claims); err != nil {
				return grants.Renewal{}, err
			}
		}
		return grants.Renewal{}, errors.Join(grants.ErrSignInOver, e)
	}
	renewal := grants.Renewal{Upstream: upstreamOf(signIn)}
	if signIn.Claims != nil {
		identity := identityOf(signIn.Claims)
		renewal.Identity = &identity
	}
	return renewal, nil
}

func identityOf(c *entra.Claims) grants.Identity {
	return grants.Identity{TenantID: c.TenantID, ObjectID: c.ObjectID, Name: c.Name, Username: c.Username, Roles: c.Roles}
}

func upstreamOf(signIn entra.SignIn) grants.Upstream {
	return grants.Upstream{
		RefreshToken: grants.EntraRefreshToken(signIn.RefreshToken),
		APIToken:     grants.EntraAccessToken(signIn.AccessToken), APITokenExpires: signIn.AccessTokenExpires,
	}
}
