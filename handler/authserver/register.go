package authserver

import (
	"net/http"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// register is dynamic client registration (RFC 7591 §3). It is open to all, as
// MCP needs it, and so limited by client address.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	if delay := s.registers.Take(observe.ClientKey(r.Context())); delay > 0 {
		refusal := oauth.New(oauth.SlowDown, "There have been too many registrations from this address. Try again later.")
		refusal.RetryAfter = delay
		oauth.WriteError(w, r, s.Log, refusal)
		return
	}
	registration, err := s.Clients.Register(r.Context(), http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		oauth.WriteError(w, r, s.Log, err)
		return
	}
	oauth.WriteJSON(w, http.StatusCreated, registration)
}
