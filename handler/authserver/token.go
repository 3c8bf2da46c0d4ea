package authserver

import (
	"math"
	"net/http"
	"net/url"

	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// The grant types of the token endpoint.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
)

// token is the token endpoint (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	f, client, err := s.authenticated(w, r)
	if err != nil {
		s.refuseClient(w, r, err)
		return
	}
	if err := s.Resource.Accept(f["resource"]); err != nil {
		s.refuseClient(w, r, err)
		return
	}
	var tokens grants.Tokens
	switch f.Get("grant_type") {
	case grantCode:
		tokens, err = s.redeem(r.Context(), client, f)
	case grantRefresh:
		tokens, err = s.refresh(r.Context(), client, f)
	case "":
		err = oauth.New(oauth.InvalidRequest, "The grant_type is missing.")
	default:
		err = oauth.New(oauth.UnsupportedGrantType, "The grant_type must be authorization_code or refresh_token.")
	}
	if err != nil {
		s.refuseClient(w, r, err)
		return
	}
	s.Clients.Touch(r.Context(), client)
	writeTokens(w, tokens)
}

// tokenResponse is the answer of RFC 6749 §5.1. The scope is always there:
// clients ask for more than there is.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
}

func writeTokens(w http.ResponseWriter, t grants.Tokens) {
	w.Header().Set("Pragma", "no-cache")
	oauth.WriteJSON(w, http.StatusOK, tokenResponse{
		AccessToken: t.Access.Reveal(), TokenType: "Bearer", ExpiresIn: int(math.Floor(t.ExpiresIn.Seconds())),
		RefreshToken: t.Refresh.Reveal(), Scope: t.Scopes.String(),
	})
}

// authenticated reads the form of r and who sent it, for the endpoints that
// clients call themselves.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) (url.Values, clients.Client, error) {
	f, err := form(w, r)
	if err == nil {
		err = once(f)
	}
	if err != nil {
		return nil, clients.Client{}, err
	}
	client, err := s.Clients.Authenticate(r.Context(), r.Header, f)
	return f, client, err
}

// refuseClient answers a client with err. A client that came with Basic is
// told to come with Basic (RFC 6749 §5.2); no other is, because browsers would
// ask the user for a password.
func (s *Server) refuseClient(w http.ResponseWriter, r *http.Request, err error) {
	if oauth.AsError(err).Code == oauth.InvalidClient && clients.UsedBasic(r.Header) {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+s.Issuer+`"`)
	}
	w.Header().Set("Pragma", "no-cache")
	oauth.WriteError(w, r, s.Log, err)
}
