package handler

import (
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
)

// Inside is what tests sign tokens and users in with.
func Inside(s *Server) (*keyring.Ring, *grants.Service) { return s.ring, s.grants }
