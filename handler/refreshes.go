package handler

import (
	"bytes"
	"io"
	"net/http"
	"net/url"

	"entramcp/handler/grants"
	"entramcp/handler/secret"
)

// maxRefresh is how much of the body of a token request is looked at, in bytes.
const maxRefresh = 16 << 10

// limitTokens limits requests to the token endpoint. Requests with an unexpired refresh
// token of this server have budgets of their own: otherwise a flood of other requests
// would keep out every client whose access token expires meanwhile. No storage I/O.
func (s *Server) limitTokens(next http.Handler) http.Handler {
	refreshes, others := s.refreshes.LimitUnlessServed(next), s.anonymous.LimitUnlessServed(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.showsRefreshToken(r) {
			refreshes.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// showsRefreshToken leaves the body of r as it was.
func (s *Server) showsRefreshToken(r *http.Request) bool {
	body := r.Body
	read, err := io.ReadAll(io.LimitReader(body, maxRefresh))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), body), body}
	if err != nil {
		return false
	}
	form, err := url.ParseQuery(string(read))
	token := grants.RefreshToken{Value: secret.New(form.Get("refresh_token"))}
	return err == nil && !token.IsZero() && s.grants.CheckRefreshToken(r.Context(), token) == nil
}
