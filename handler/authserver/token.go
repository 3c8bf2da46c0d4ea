package authserver

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// The grant types of the token endpoint.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
)

// touchTimeout bounds the write that keeps a registration alive.
const touchTimeout = 2 * time.Second

// tokenRequest is a request of the token endpoint (RFC 6749 §4.1.3 and §6).
type tokenRequest struct {
	grantType    string
	resource     []string
	code         grants.Code
	redirectURI  string
	verifier     string
	refreshToken grants.RefreshToken
	scope        oauth.Scopes // nil if none was asked for
}

func readTokenRequest(p params) tokenRequest {
	t := tokenRequest{
		grantType: p.Get("grant_type"), resource: p.Values["resource"],
		code: grants.Code{Value: secret.New(p.Get("code"))}, redirectURI: p.Get("redirect_uri"), verifier: p.Get("code_verifier"),
		refreshToken: grants.RefreshToken{Value: secret.New(p.Get("refresh_token"))},
	}
	if p.Has("scope") {
		t.scope = oauth.ParseScopes(p.Get("scope"))
	}
	return t
}

// token is the token endpoint (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	p, client, err := s.authenticated(w, r)
	t := readTokenRequest(p)
	if err == nil {
		err = s.checkClientBlock(r, client)
	}
	if err == nil {
		err = s.checkTokenRequest(r.Context(), client, t)
	}
	if err == nil {
		err = s.Clients.Consume(r.Context(), client)
	}
	var tokens grants.Tokens
	if err == nil {
		tokens, err = s.issueTokens(r.Context(), client, t)
	}
	if err != nil {
		s.writeJSONError(w, r, err)
		return
	}
	writeTokens(w, tokens)
	s.touch(w, r, client)
}

// maxPeek is how much of a body HasRefreshToken reads, in bytes. Requests of clients
// are shorter.
const maxPeek = 16 << 10

// HasRefreshToken reports whether the body of r, a request of the token endpoint, has
// a refresh token of this server that has not expired. The body can be read again.
// No storage I/O.
func (s *Server) HasRefreshToken(r *http.Request) bool {
	body := r.Body
	read, err := io.ReadAll(io.LimitReader(body, maxPeek))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), body), body}
	if err != nil {
		return false
	}
	form, err := url.ParseQuery(string(read))
	token := grants.RefreshToken{Value: secret.New(form.Get("refresh_token"))}
	return err == nil && !token.IsZero() && s.Grants.CheckRefreshToken(r.Context(), token) == nil
}

// authenticated reads the form of r and authenticates the client that sent it, for
// the endpoints that clients call themselves. A client assertion is not marked as
// used yet: Consume does that once the rest of the request is valid.
func (s *Server) authenticated(w http.ResponseWriter, r *http.Request) (params, clients.Client, error) {
	p, err := readForm(w, r)
	if err == nil {
		err = p.unambiguous()
	}
	if err != nil {
		return params{}, clients.Client{}, err
	}
	client, err := s.Clients.Authenticate(r.Context(), r.Header, p.Values)
	return p, client, err
}

// checkTokenRequest refuses what can be refused without storage I/O.
func (s *Server) checkTokenRequest(ctx context.Context, client clients.Client, t tokenRequest) error {
	if err := s.Resource.Accept(t.resource); err != nil {
		return err
	}
	switch t.grantType {
	case grantCode:
		switch {
		case t.code.IsZero():
			return oauth.New(oauth.InvalidRequest, "The code is missing.")
		case t.verifier == "" && !client.WithoutPKCE:
			return oauth.New(oauth.InvalidRequest, "The code_verifier is missing.")
		}
		return s.Grants.CheckCode(ctx, t.code)
	case grantRefresh:
		switch {
		case !mayRefresh(client):
			return oauth.New(oauth.UnauthorizedClient, "The client has not registered for refresh_token.")
		case t.refreshToken.IsZero():
			return oauth.New(oauth.InvalidRequest, "The refresh_token is missing.")
		}
		return s.Grants.CheckRefreshToken(ctx, t.refreshToken)
	case "":
		return oauth.New(oauth.InvalidRequest, "The grant_type is missing.")
	}
	return oauth.New(oauth.UnsupportedGrantType, "The grant_type must be authorization_code or refresh_token.")
}

// issueTokens exchanges the code (RFC 6749 §4.1.3) or the refresh token (§6) of
// a request that checkTokenRequest has accepted. The redirect URI is compared if
// it is sent: OAuth 2.1 dropped it, because the verifier binds the code.
func (s *Server) issueTokens(ctx context.Context, client clients.Client, t tokenRequest) (grants.Tokens, error) {
	if t.grantType == grantRefresh {
		return s.Grants.Refresh(ctx, t.refreshToken, client.ID, t.scope)
	}
	return s.Grants.Redeem(ctx, t.code, grants.Redemption{
		ClientID: client.ID, RedirectURI: t.redirectURI, Verifier: t.verifier, WithoutRefresh: !mayRefresh(client),
	})
}

// tokenResponse is the response of RFC 6749 §5.1. It always has the scope, because
// clients ask for scopes that do not exist.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
}

func writeTokens(w http.ResponseWriter, t grants.Tokens) {
	w.Header().Set("Pragma", "no-cache")
	oauth.WriteJSON(w, http.StatusOK, tokenResponse{
		AccessToken: t.Access.Reveal(), TokenType: "Bearer", ExpiresIn: int(math.Floor(t.ExpiresIn.Seconds())),
		RefreshToken: t.Refresh.Reveal(), Scope: t.Scopes.String(),
	})
}

// touch extends the lifetime of a client's registration after it got tokens. The
// answer has been sent: the client does not wait for the write, and closing the
// connection does not stop it.
func (s *Server) touch(w http.ResponseWriter, r *http.Request, client clients.Client) {
	_ = http.NewResponseController(w).Flush() // otherwise the answer is sent when this returns
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), touchTimeout)
	defer cancel()
	s.Clients.Touch(ctx, client)
}
