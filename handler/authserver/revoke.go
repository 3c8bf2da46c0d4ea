package authserver

import (
	"net/http"

	"entramcp/handler/oauth"
)

// revoke is token revocation (RFC 7009). An unknown token is revoked by
// definition: 200 (§2.2). The hint is not needed and not read (§2.1).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	p, client, err := s.authenticated(w, r)
	if err == nil && !p.Has("token") {
		err = oauth.New(oauth.InvalidRequest, "The token is missing.")
	}
	if err == nil {
		err = s.Clients.Consume(r.Context(), client)
	}
	if err == nil {
		err = s.Grants.Revoke(r.Context(), p.Get("token"), client.ID)
	}
	if err != nil {
		s.writeJSONError(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store") // the status is 200 (RFC 7009 §2.2)
}

// introspect is token introspection (RFC 7662) for confidential clients: who
// may ask has to be authenticated, or the endpoint would help to guess tokens
// (§2.1, §4).
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	p, client, err := s.authenticated(w, r)
	if err == nil && client.Public() && !p.Has("client_assertion") {
		// The request proved nothing about the client.
		err = oauth.New(oauth.InvalidClient, "Introspection is for clients that authenticate.")
	}
	if err == nil && !p.Has("token") {
		err = oauth.New(oauth.InvalidRequest, "The token is missing.")
	}
	if err == nil {
		err = s.Clients.Consume(r.Context(), client)
	}
	if err != nil {
		s.writeJSONError(w, r, err)
		return
	}
	answer, err := s.Grants.Introspect(r.Context(), p.Get("token"), client.ID)
	if err != nil {
		s.writeJSONError(w, r, err)
		return
	}
	oauth.WriteJSON(w, http.StatusOK, answer)
}
