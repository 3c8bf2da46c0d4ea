package handler

import (
	"context"

	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// entraCallers verifies tokens that Entra issued, for the MCP endpoint; it is nil if
// none are accepted. A caller's scopes are those in the token that this server knows,
// and for a user also those that every call needs.
func (s *Server) entraCallers(known oauth.Scopes) func(context.Context, string) (*grants.Access, error) {
	policy := CallerPolicy(s.cfg)
	if policy.Off() {
		return nil
	}
	callers := entra.NewCallers(s.entra, policy)
	return func(ctx context.Context, raw string) (*grants.Access, error) {
		caller, err := callers.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		access := accessOf(caller, s.cfg.RequiredScopes, known)
		switch block, err := s.grants.Blocked(ctx, grants.Parties{AppID: access.ClientID, Subject: access.Subject, TenantID: access.TenantID}); {
		case err != nil:
			return nil, err
		case block != nil:
			return nil, refusedBy(block, caller)
		}
		return access, nil
	}
}

func refusedBy(block *grants.Block, caller entra.Caller) *entra.Refusal {
	return &entra.Refusal{AppID: caller.AppID, TenantID: caller.TenantID, Reason: "blocked: " + string(block.Kind), Message: "The operator of this server has blocked this " + string(block.Kind) + "."}
}

// CallerPolicy converts the settings of callers with tokens that Entra issued.
func CallerPolicy(cfg config.Config) entra.CallerPolicy {
	audience := "api://" + cfg.Entra.ClientID
	if cfg.Entra.ResourceURI {
		audience = string(cfg.Resource)
	}
	return entra.CallerPolicy{AppRole: cfg.Entra.AppRole, Clients: cfg.Entra.Clients, Audience: audience + "/.default"}
}

func accessOf(c entra.Caller, required, known oauth.Scopes) *grants.Access {
	access := &grants.Access{
		Subject: grants.SubjectOf(c.TenantID, c.ObjectID), ClientID: c.AppID, TenantID: c.TenantID, ID: c.TokenID,
		Roles: c.Roles, Issued: c.Issued, Expires: c.Expires,
		Identity:  &grants.Identity{TenantID: c.TenantID, ObjectID: c.ObjectID, Name: c.Name, Username: c.Username, Roles: c.Roles},
		Assertion: grants.EntraAccessToken(c.Token),
	}
	switch c.Kind {
	case entra.ApplicationCaller:
		access.Kind = grants.Application
	case entra.AgentCaller:
		access.Kind = grants.Agent
	}
	if c.ByItself() {
		// A service principal is never a user, whatever its object id.
		access.Subject = grants.SubjectOf("application/"+c.TenantID, c.ObjectID)
		return access
	}
	access.Scopes = required
	for _, scope := range c.Scopes {
		if known.Has(scope) {
			access.Scopes = access.Scopes.Union(oauth.NewScopes(scope))
		}
	}
	return access
}
