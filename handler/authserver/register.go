package authserver

import (
	"net/http"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// register is dynamic client registration (RFC 7591 §3). It is open to all, as
// MCP needs it, and so limited. The registry bounds the body.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	if wait := s.registers.Take(observe.ClientKey(r.Context())); wait > 0 {
		s.jsonError(w, r, tooMany("There have been too many registrations. Try again later.", wait))
		return
	}
	registration, err := s.Clients.Register(r.Context(), r.Body)
	if err != nil {
		s.jsonError(w, r, err)
		return
	}
	oauth.WriteJSON(w, http.StatusCreated, registration)
}

func tooMany(description string, wait time.Duration) error {
	refusal := oauth.New(oauth.SlowDown, description)
	refusal.RetryAfter = wait
	return refusal
}
