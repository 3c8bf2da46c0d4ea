package authserver

import (
	"net/http"

	"entramcp/handler/oauth"
)

// register is dynamic client registration (RFC 7591 §3). It is open to all, as
// MCP needs it. The registry limits it and bounds the body.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	registration, err := s.Clients.Register(r.Context(), r.Header.Get("Content-Type"), r.Body)
	if err != nil {
		s.writeJSONError(w, r, err)
		return
	}
	oauth.WriteJSON(w, http.StatusCreated, registration)
}
