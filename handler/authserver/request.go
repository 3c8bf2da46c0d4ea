package authserver

import (
	"context"
	"slices"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
)

// maxState is the longest state in bytes that a client may have echoed.
const maxState = 4 << 10

// request is an authorization request that has been validated: what travels in
// the consent form and in the transaction.
type request struct {
	ClientID      string `json:"client_id"`
	ClientName    string `json:"client_name"`
	Verified      bool   `json:"verified,omitempty"` // the name is from the client's own document
	RedirectURI   string `json:"redirect_uri"`
	State         string `json:"state,omitempty"`
	CodeChallenge string `json:"code_challenge"`
	// AuthorizationID ties the audit events of one authorization together.
	AuthorizationID string       `json:"flow,omitempty"`
	Scopes          oauth.Scopes `json:"scopes"`
}

var errIncomplete = newPageError(pages.IncompleteLink, oauth.InvalidRequest, "The request must name one client_id and one redirect_uri.")

// recipient determines the client and the redirect URI. Until both are known there
// must be no redirect (RFC 6749 §4.1.2.1), so an error here is shown to the user.
func (s *Server) recipient(ctx context.Context, p params) (request, clients.Client, error) {
	if p.Get("client_id") == "" || p.isRepeated("client_id", "redirect_uri") {
		return request{}, clients.Client{}, errIncomplete
	}
	client, err := s.Clients.Lookup(ctx, p.Get("client_id"))
	if err != nil {
		return request{}, clients.Client{}, err
	}
	redirectURI := p.Get("redirect_uri")
	if redirectURI == "" {
		// RFC 6749 §3.1.2.3: it may be omitted if only one is registered.
		if len(client.RedirectURIs) != 1 {
			return request{}, clients.Client{}, errIncomplete
		}
		redirectURI = client.RedirectURIs[0]
	}
	if !client.Allows(redirectURI) {
		return request{}, clients.Client{}, newPageError(pages.UnregisteredAddress, oauth.InvalidRedirectURI, "The app asked for its answer at an address that it has not registered.")
	}
	verified := client.Source == clients.SourceFetched || client.Source == clients.SourcePinned
	return request{ClientID: client.ID, ClientName: client.Name, Verified: verified, RedirectURI: redirectURI, State: p.Get("state"), AuthorizationID: oauth.RandomID()}, client, nil
}

// validate completes req from the rest of the parameters. Its errors go to the
// client.
func (s *Server) validate(req *request, client clients.Client, p params) error {
	if err := p.unambiguous(); err != nil {
		return err
	}
	switch {
	case len(req.State) > maxState:
		return oauth.New(oauth.InvalidRequest, "The state is longer than 4096 bytes.")
	case p.Has("request"):
		return oauth.New(oauth.RequestNotSupported, "The request parameter is not supported.")
	case p.Has("request_uri"):
		return oauth.New(oauth.RequestURINotSupported, "The request_uri parameter is not supported.")
	case !p.Has("response_type"):
		return oauth.New(oauth.InvalidRequest, "The response_type is missing. Use code.")
	case p.Get("response_type") != "code":
		return oauth.New(oauth.UnsupportedResponseType, "The only response_type is code.")
	case p.Has("response_mode") && p.Get("response_mode") != "query":
		return oauth.New(oauth.InvalidRequest, "The only response_mode is query.")
	}
	if err := validatePKCE(client, p); err != nil {
		return err
	}
	if err := s.Resource.Accept(p.Values["resource"]); err != nil {
		return err
	}
	req.CodeChallenge = p.Get("code_challenge")
	req.Scopes = s.grantable(oauth.ParseScopes(p.Get("scope")))
	return nil
}

// validatePKCE requires a challenge, except from clients for which the operator
// waived PKCE. A challenge that is sent must be met in any case.
func validatePKCE(client clients.Client, p params) error {
	switch {
	case client.WithoutPKCE && !p.Has("code_challenge") && !p.Has("code_challenge_method"):
		return nil
	case !p.Has("code_challenge"):
		return oauth.New(oauth.InvalidRequest, "PKCE is required: the code_challenge is missing.")
	case p.Get("code_challenge_method") != "S256":
		// Leaving it out means plain (RFC 7636 §4.3).
		return oauth.New(oauth.InvalidRequest, "The code_challenge_method must be S256.")
	case !oauth.ValidChallenge(p.Get("code_challenge")):
		return oauth.New(oauth.InvalidRequest, "The code_challenge is not an S256 challenge.")
	}
	return nil
}

// mayRefresh reports whether client may have refresh tokens. One that named no
// grant types registered for all there are.
func mayRefresh(client clients.Client) bool {
	return len(client.GrantTypes) == 0 || slices.Contains(client.GrantTypes, grantRefresh)
}

// grantable are the scopes that a client can get for those that it asked for.
// Required scopes are always included. Unknown ones are ignored and not refused,
// because clients ask for scopes that they know from other servers (RFC 6749 §3.3).
func (s *Server) grantable(asked oauth.Scopes) oauth.Scopes {
	return s.Required.Union(asked.Intersect(s.knownScopes()))
}
