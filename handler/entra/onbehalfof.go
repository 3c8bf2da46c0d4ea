package entra

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// OnBehalfOf exchanges the user's token for our API (SignIn.AccessToken, with
// Config.APIScope set) for one that calls another API as that user. It caches
// nothing. Every error is a *Failure: ConsentNeeded carries a link for these
// scopes, InteractionNeeded the claims challenge.
//
// The request goes through the same code as sign-in and renewal, not through
// azidentity.OnBehalfOfCredential: azidentity and MSAL refuse any authority
// that is not https, so that the simulated tenant on loopback could never
// prove this path, and their error keeps the claims challenge and the error
// numbers only as an unread response body.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow
func (c *Client) OnBehalfOf(ctx context.Context, userToken string, scopes []string) (accessToken string, expires time.Time, err error) {
	if c.cfg.APIScope == "" {
		return "", time.Time{}, refused("This server cannot call other APIs for its users yet.",
			"The administrator exposes an API scope in the app registration and names it in ENTRA_API_SCOPE.", Misconfigured, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	t, err := c.requestTokens(ctx, c.tenantOf(userToken), url.Values{
		"grant_type":          {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"requested_token_use": {"on_behalf_of"},
		"assertion":           {userToken},
		"scope":               {strings.Join(scopes, " ")},
	})
	if err != nil {
		return "", time.Time{}, c.linked(err, scopes)
	}
	return t.AccessToken, c.deps.Now().Add(time.Duration(t.ExpiresIn) * time.Second), nil
}

// tenantOf is the tenant whose token endpoint takes the user's token. An
// endpoint that stands for many refuses it (AADSTS9001023).
func (c *Client) tenantOf(userToken string) string {
	switch c.cfg.Tenant {
	case organizations, common, consumers:
		if tid := peek(userToken).TenantID; isGUID(tid) {
			return strings.ToLower(tid)
		}
	}
	return c.cfg.Tenant
}
