package handler

import (
	"context"
	"net/http"
	"time"

	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/warnings"
)

// Inside is what tests sign tokens and users in with.
func Inside(s *Server) (*keyring.Ring, *grants.Service) { return s.ring, s.grants }

// SayWarnings is one look at what will stop working.
func SayWarnings(s *Server, said map[warnings.Name]time.Time) {
	s.sayWarnings(context.Background(), said)
}

// DefaultHTTPClient is that of a server to which Dependencies bring none.
func DefaultHTTPClient() *http.Client {
	return Dependencies{}.withDefaults(config.Config{}).HTTPClient
}
