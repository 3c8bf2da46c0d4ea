package authserver

import (
	"net/http"

	"entramcp/handler/oauth"
)

// introspect is token introspection (RFC 7662) for confidential clients: who
// may ask has to be authenticated, or the endpoint would help to guess tokens
// (§2.1, §4).
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	f, client, err := s.authenticated(w, r)
	if err == nil && client.Public() && f.Get("client_assertion") == "" {
		// Whatever stood in the request, nothing was proven by it.
		err = oauth.New(oauth.InvalidClient, "Introspection is for clients that authenticate.")
	}
	if err == nil && f.Get("token") == "" {
		err = oauth.New(oauth.InvalidRequest, "The token is missing.")
	}
	if err != nil {
		s.refuseClient(w, r, err)
		return
	}
	answer, err := s.Grants.Introspect(r.Context(), f.Get("token"), client.ID)
	if err != nil {
		s.refuseClient(w, r, err)
		return
	}
	oauth.WriteJSON(w, http.StatusOK, answer)
}
