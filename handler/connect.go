package handler

import (
	"context"
	"net/http"

	"entramcp/handler/authserver"
	"entramcp/handler/connect"
	"entramcp/handler/entra"
)

// connectSignIn is the kind of sign-ins with which a user consents to another API.
const connectSignIn = "connect"

// newConnect makes the page on which a user consents to another API.
func (s *Server) newConnect(words map[string]string) *connect.Connect {
	return connect.New(connect.Options{
		Ring: s.ring, Grant: s.grants.Get, Issuer: s.cfg.Issuer, Pages: s.pages, ScopeWords: words,
		SignIn: func(w http.ResponseWriter, r *http.Request, data []byte, back string, scopes []string) {
			s.as.BeginPageSignIn(w, r, connectSignIn, authserver.PageSignInRequest{Data: data, Back: back, Scopes: scopes})
		},
		FormToken: s.as.FormToken, CheckForm: s.as.CheckForm, Refuse: s.as.Refuse,
		Now: s.deps.Now, Log: s.deps.Log,
	})
}

// connectFinish finishes those sign-ins. The page is made after the authorization server
// that it signs in through.
type connectFinish struct{ *Server }

// Finish judges who has consented.
func (s connectFinish) Finish(ctx context.Context, signIn entra.SignIn, data []byte) (authserver.PageSignInEnd, error) {
	to, err := s.connect.Finish(ctx, signIn, data)
	return authserver.PageSignInEnd{To: to}, err
}
