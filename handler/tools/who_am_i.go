package tools

import (
	"context"

	"entramcp/handler/oauth"
)

type identity struct {
	Name     string       `json:"name,omitempty"`
	Username string       `json:"username,omitempty" jsonschema:"The user principal name."`
	TenantID string       `json:"tenant_id"`
	ObjectID string       `json:"object_id"`
	Roles    []string     `json:"roles" jsonschema:"App roles assigned in Entra."`
	Scopes   oauth.Scopes `json:"scopes" jsonschema:"What this client was allowed."`
	Profile  *profile     `json:"profile,omitempty" jsonschema:"From Microsoft Graph."`
	Note     string       `json:"note,omitempty" jsonschema:"Why there is no profile."`
}

// userRead lets the client see the user's own profile.
const userRead = "User.Read"

// graphScope offers User.Read only where there is something to read with it.
func (s *Server) graphScope() Rule {
	if s.graph == nil {
		return OptionalScopes()
	}
	return OptionalScopes(userRead)
}

func (s *Server) whoAmI(ctx context.Context, caller *Caller, _ struct{}) (identity, error) {
	grant, err := s.grants.Get(ctx, caller.Subject, caller.GrantID)
	if err != nil {
		return identity{}, err
	}
	who := identity{
		Name:     grant.Identity.Name,
		Username: grant.Identity.Username,
		TenantID: grant.Identity.TenantID,
		ObjectID: grant.Identity.ObjectID,
		Roles:    append([]string{}, caller.Roles...),
		Scopes:   append(oauth.Scopes{}, caller.Scopes...),
	}
	switch {
	case s.graph == nil:
		who.Note = "This server is not set up to read Microsoft Graph."
	case !caller.Scopes.Has(userRead):
		who.Note = "Grant the scope " + userRead + " to see the Microsoft Graph profile."
	default:
		who.Profile, err = s.graphProfile(ctx, grant)
	}
	return who, err
}
