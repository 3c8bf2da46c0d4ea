package resource

import (
	"context"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// EntraCallers lets callers in whose token Entra issued. They have no grant.
type EntraCallers struct {
	// VerifyToken is the method Verify of entra.Callers.
	VerifyToken func(ctx context.Context, raw string) (entra.Caller, error)
	// Blocked is the method of grants.Service.
	Blocked func(context.Context, grants.Parties) (*grants.Block, error)
	// A user has the scopes Required, which every call needs, and those of the token
	// that are in Known. A caller without a user has no scopes.
	Required, Known oauth.Scopes
}

// Verify is for Options.VerifyEntra. No storage I/O for a token that was verified
// before, unless blocks are due to be read.
func (c EntraCallers) Verify(ctx context.Context, raw string) (*grants.Access, error) {
	caller, err := c.VerifyToken(ctx, raw)
	if err != nil {
		return nil, err
	}
	access := c.accessOf(caller)
	switch block, err := c.Blocked(ctx, grants.Parties{AppID: access.ClientID, Subject: access.Subject, TenantID: access.TenantID}); {
	case err != nil:
		return nil, err
	case block != nil:
		return nil, caller.Blocked(string(block.Kind))
	}
	return access, nil
}

func (c EntraCallers) accessOf(caller entra.Caller) *grants.Access {
	access := &grants.Access{
		Subject: grants.SubjectOf(caller.TenantID, caller.ObjectID), ClientID: caller.AppID, TenantID: caller.TenantID, ID: caller.TokenID,
		Roles: caller.Roles, Issued: caller.Issued, Expires: caller.Expires,
		Identity:  &grants.Identity{TenantID: caller.TenantID, ObjectID: caller.ObjectID, Name: caller.Name, Username: caller.Username, Roles: caller.Roles},
		Assertion: grants.EntraAccessToken(caller.Token),
	}
	switch caller.Kind {
	case entra.ApplicationCaller:
		access.Kind = grants.Application
	case entra.AgentCaller:
		access.Kind = grants.Agent
	}
	if caller.ByItself() {
		// A service principal is never a user, whatever its object id.
		access.Subject = grants.SubjectOf("application/"+caller.TenantID, caller.ObjectID)
		return access
	}
	access.Scopes = c.Required
	for _, scope := range caller.Scopes {
		if c.Known.Has(scope) {
			access.Scopes = access.Scopes.Union(oauth.NewScopes(scope))
		}
	}
	return access
}
