package handler

import (
	"net/http"

	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
)

// Inside is what tests sign tokens and users in with.
func Inside(s *Server) (*keyring.Ring, *grants.Service) { return s.ring, s.grants }

// DefaultHTTPClient is that of a server to which Dependencies bring none.
func DefaultHTTPClient() *http.Client {
	return Dependencies{}.withDefaults(config.Config{}).HTTPClient
}
