// Package tools is the catalogue that the end-to-end tests serve in the place
// of the one in handler/tools, which is its owner's to change.
package tools

import (
	"context"

	"entramcp/handler/toolkit"
)

// Catalogue has a tool that needs nothing, one that reads the grant and calls
// Microsoft Graph, and nothing else.
func Catalogue() toolkit.Catalogue {
	return toolkit.Catalogue{
		About: toolkit.About{Name: "e2e", Title: "End-to-end tests"},
		Tools: []toolkit.Tool{
			toolkit.Define("greet", "Greet someone by name.", greet, toolkit.ReadOnly()),
			toolkit.Define("identity", "Who is signed in.", identify, toolkit.ReadOnly(), toolkit.CallAPI("User.Read")),
		},
	}
}

type greeting struct {
	Name string `json:"name,omitempty" jsonschema:"Who to greet." default:"World"`
}

func greet(_ context.Context, _ *toolkit.Caller, in greeting) (string, error) {
	return "Hello, " + in.Name + "!", nil
}

type identity struct {
	Name     string         `json:"name"`
	Username string         `json:"username"`
	TenantID string         `json:"tenant_id"`
	Roles    []string       `json:"roles"`
	Scopes   []string       `json:"scopes"`
	Profile  map[string]any `json:"profile,omitempty"`
}

func identify(ctx context.Context, caller *toolkit.Caller, _ struct{}) (identity, error) {
	user, err := caller.Identity(ctx)
	if err != nil {
		return identity{}, err
	}
	who := identity{
		Name: user.Name, Username: user.Username, TenantID: user.TenantID,
		Roles: append([]string{}, caller.Roles...), Scopes: append([]string{}, caller.Scopes...),
	}
	if !caller.Scopes.Has("User.Read") {
		return who, nil
	}
	return who, caller.GetJSON(ctx, "/v1.0/me", &who.Profile, "User.Read")
}
