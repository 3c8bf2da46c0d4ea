package handler

import (
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/toolkit"
)

// kinds are the records that expire, by the prefixes of their owners. The table
// of docs/architecture.md says more of each.
func (s *Server) kinds() []sweep.Kind {
	return []sweep.Kind{
		{Name: "transactions", Prefix: authserver.TransactionPrefix},
		{Name: "challenges", Prefix: authserver.ClaimsPrefix},
		{Name: "grants", Prefix: "g-"},
		{Name: "revoked", Prefix: "revoked"},
		{Name: "clients", Prefix: clients.RegistrationPrefix},
		{Name: "documents", Prefix: clients.DocumentPrefix},
		{Name: "assertions", Prefix: clients.AssertionPrefix},
		{Name: "answers", Prefix: toolkit.AnsweredPrefix},
		{Name: "keys", Prefix: keyring.Partition},
		{Name: "probes", Prefix: store.ProbePartition},
	}
}
