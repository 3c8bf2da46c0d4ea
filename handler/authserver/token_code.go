package authserver

import (
	"context"
	"net/url"

	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// redeem exchanges an authorization code (RFC 6749 §4.1.3). The redirect_uri
// is required here because it is required at /authorize, and the verifier
// because the challenge is.
func (s *Server) redeem(ctx context.Context, client clients.Client, f url.Values) (grants.Tokens, error) {
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if f.Get(name) == "" {
			return grants.Tokens{}, oauth.New(oauth.InvalidRequest, "The "+name+" is missing.")
		}
	}
	return s.Grants.Redeem(ctx, grants.Code{Value: secret.New(f.Get("code"))}, grants.Redemption{
		ClientID: client.ID, RedirectURI: f.Get("redirect_uri"), Verifier: f.Get("code_verifier"),
	})
}
