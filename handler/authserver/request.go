package authserver

import (
	"context"
	"net/url"
	"regexp"
	"slices"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
)

// maxState is the longest state in bytes that a client may have echoed.
const maxState = 4 << 10

// request is an authorization request that has been validated: what travels in
// the consent form and in the transaction.
type request struct {
	ClientID    string       `json:"client_id"`
	ClientName  string       `json:"client_name"`
	RedirectURI string       `json:"redirect_uri"`
	State       *string      `json:"state,omitempty"` // nil if the client sent none
	Challenge   string       `json:"code_challenge"`
	Scopes      oauth.Scopes `json:"scopes"`
}

// An S256 challenge is SHA-256 in unpadded base64url (RFC 7636 §4.2).
var challengeSyntax = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// recipient establishes who asks and where answers go. Until both are known
// nothing may be redirected anywhere (RFC 6749 §4.1.2.1), so an error here is
// for the person at the browser.
func (s *Server) recipient(ctx context.Context, q url.Values) (request, clients.Client, error) {
	if len(q["client_id"]) != 1 || len(q["redirect_uri"]) != 1 || q.Get("client_id") == "" || q.Get("redirect_uri") == "" {
		return request{}, clients.Client{}, oauth.New(oauth.InvalidRequest, "The link that brought you here is not complete: it must name one client_id and one redirect_uri.")
	}
	client, err := s.Clients.Lookup(ctx, q.Get("client_id"))
	if err != nil {
		return request{}, clients.Client{}, err
	}
	if !client.Allows(q.Get("redirect_uri")) {
		return request{}, clients.Client{}, oauth.New(oauth.InvalidRedirectURI, "The app asked to be answered at an address that it has not registered.")
	}
	return request{ClientID: client.ID, ClientName: client.Name, RedirectURI: q.Get("redirect_uri"), State: first(q["state"])}, client, nil
}

// validate completes req from the rest of the parameters. Its errors go to the
// client.
func (s *Server) validate(req *request, client clients.Client, q url.Values) error {
	if err := once(q); err != nil {
		return err
	}
	switch {
	case len(q.Get("state")) > maxState:
		return oauth.New(oauth.InvalidRequest, "The state is longer than 4096 bytes.")
	case q.Has("request"):
		return oauth.New(oauth.RequestNotSupported, "The request parameter is not supported.")
	case q.Has("request_uri"):
		return oauth.New(oauth.RequestURINotSupported, "The request_uri parameter is not supported.")
	case q.Get("response_type") == "":
		return oauth.New(oauth.InvalidRequest, "The response_type is missing. Use code.")
	case q.Get("response_type") != "code":
		return oauth.New(oauth.UnsupportedResponseType, "The only response_type is code.")
	case q.Has("response_mode") && q.Get("response_mode") != "query":
		return oauth.New(oauth.InvalidRequest, "The only response_mode is query.")
	case len(client.GrantTypes) > 0 && !slices.Contains(client.GrantTypes, grantCode):
		return oauth.New(oauth.UnauthorizedClient, "The client has not registered for authorization_code.")
	case q.Get("code_challenge") == "":
		return oauth.New(oauth.InvalidRequest, "PKCE is required: the code_challenge is missing.")
	case q.Get("code_challenge_method") != "S256":
		// Leaving it out means plain (RFC 7636 §4.3).
		return oauth.New(oauth.InvalidRequest, "The code_challenge_method must be S256.")
	case !challengeSyntax.MatchString(q.Get("code_challenge")):
		return oauth.New(oauth.InvalidRequest, "The code_challenge is not an S256 challenge.")
	}
	if err := s.Resource.Accept(q["resource"]); err != nil {
		return err
	}
	req.Challenge = q.Get("code_challenge")
	req.Scopes = s.grantable(oauth.ParseScopes(q.Get("scope")))
	return nil
}

// grantable are the scopes for a client that asks for some. Those required
// always belong to them, and unknown ones are left out rather than refused:
// clients ask for what they know from other servers (RFC 6749 §3.3).
func (s *Server) grantable(asked oauth.Scopes) oauth.Scopes {
	return s.Required.Union(asked.Intersect(s.knownScopes()))
}

func first(values []string) *string {
	if len(values) == 0 {
		return nil
	}
	return &values[0]
}
