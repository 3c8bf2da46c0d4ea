package handler

import (
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/grants"
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
		{Name: "approvals", Prefix: authserver.ApprovalPrefix},
		{Name: "grants", Prefix: grants.GrantPrefix},
		{Name: "revocations", Prefix: grants.RevocationPrefix, Before: s.grants.CompleteRevocations},
		{Name: "revoked", Prefix: grants.LegacyRevocationPartition, Before: s.grants.CompleteRevocations},
		{Name: "blocks", Prefix: grants.BlockPartition},
		{Name: "clients", Prefix: clients.RegistrationPrefix},
		{Name: "documents", Prefix: clients.DocumentPrefix},
		{Name: "assertions", Prefix: clients.AssertionPrefix},
		{Name: "answers", Prefix: toolkit.AnsweredPrefix},
		{Name: "keys", Prefix: keyring.Partition},
		{Name: "probes", Prefix: store.ProbePartition},
	}
}
