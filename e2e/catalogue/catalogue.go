// Package tools is the catalogue that the end-to-end tests serve in the place
// of the one in handler/tools, which is its owner's to change.
package tools

import (
	"context"
	"crypto/sha256"
	"fmt"

	"entramcp/handler/toolkit"
)

// Catalogue has a tool that needs nothing, one that reads the grant and calls
// Microsoft Graph, and one that computes.
func Catalogue() toolkit.Catalogue {
	return toolkit.Catalogue{
		About: toolkit.About{Name: "e2e", Title: "End-to-end tests"},
		Tools: []toolkit.Tool{
			toolkit.Define("greet", "Greet someone by name.", greet, toolkit.ReadOnly()),
			toolkit.Define("identity", "Who is signed in.", identify, toolkit.ReadOnly(), toolkit.CallAPI("User.Read")),
			toolkit.Define("compute", "Compute for a few milliseconds.", compute, toolkit.ReadOnly()),
		},
	}
}

type greeting struct {
	Name string `json:"name,omitempty" jsonschema:"Who to greet." default:"World"`
}

func greet(_ context.Context, _ *toolkit.Caller, in greeting) (string, error) {
	return "Hello, " + in.Name + "!", nil
}

func compute(context.Context, *toolkit.Caller, struct{}) (string, error) {
	sum := sha256.Sum256(nil)
	for range 20_000 {
		sum = sha256.Sum256(sum[:])
	}
	return fmt.Sprintf("computed %x", sum[:2]), nil
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
