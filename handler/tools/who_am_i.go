package tools

import (
	"context"

	"entramcp/handler/oauth"
	"entramcp/handler/toolkit"
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

// profile is the part of a Graph user that who_am_i shows.
// https://learn.microsoft.com/graph/api/user-get
type profile struct {
	DisplayName       string `json:"displayName,omitempty"`
	Mail              string `json:"mail,omitempty"`
	JobTitle          string `json:"jobTitle,omitempty"`
	OfficeLocation    string `json:"officeLocation,omitempty"`
	PreferredLanguage string `json:"preferredLanguage,omitempty"`
	UserPrincipalName string `json:"userPrincipalName,omitempty"`
}

// userRead is Microsoft Graph's scope for the user's own profile.
const userRead = "User.Read"

func whoAmI(ctx context.Context, caller *toolkit.Caller, _ struct{}) (identity, error) {
	user, err := caller.Identity(ctx)
	if err != nil {
		return identity{}, err
	}
	who := identity{
		Name:     user.Name,
		Username: user.Username,
		TenantID: user.TenantID,
		ObjectID: user.ObjectID,
		Roles:    append([]string{}, caller.Roles...),
		Scopes:   append(oauth.Scopes{}, caller.Scopes...),
	}
	switch {
	case !caller.CanCallAPIs():
		who.Note = "This server is not set up to read Microsoft Graph."
	case !caller.Scopes.Has(userRead):
		who.Note = "Grant the scope " + userRead + " to see the Microsoft Graph profile."
	default:
		who.Profile = &profile{}
		if err := caller.GetJSON(ctx, "/v1.0/me", who.Profile, userRead); err != nil {
			who.Profile, who.Note = nil, toolkit.Explain(err)
			caller.Log.WarnContext(ctx, "no profile from Microsoft Graph", "cause", err)
		}
	}
	return who, nil
}
