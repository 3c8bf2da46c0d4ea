package authserver

import (
	"net/http"

	"entramcp/handler/oauth"
)

// revoke is token revocation (RFC 7009). An unknown token is revoked by
// definition: 200 (§2.2). The hint is not needed and not read (§2.1).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	f, client, err := s.authenticated(w, r)
	if err == nil && f.Get("token") == "" {
		err = oauth.New(oauth.InvalidRequest, "The token is missing.")
	}
	if err == nil {
		err = s.Grants.Revoke(r.Context(), f.Get("token"), client.ID)
	}
	if err != nil {
		s.refuseClient(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}
