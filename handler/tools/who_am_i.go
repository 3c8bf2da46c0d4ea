package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

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
		who.Profile, err = graphProfile(ctx, caller)
	}
	return who, err
}

// maxProfile bounds what is read of Graph's answer, in bytes.
const maxProfile = 1 << 20

const graphDown = "Microsoft Graph does not answer now. Try again in a minute."

func graphProfile(ctx context.Context, caller *toolkit.Caller) (*profile, error) {
	if _, err := caller.Token(ctx, userRead); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, caller.GraphURL()+"/v1.0/me", nil)
	if err != nil {
		return nil, toolkit.Fail(graphDown, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := caller.HTTPClient(userRead).Do(req)
	if err != nil {
		return nil, toolkit.Fail(graphDown, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, toolkit.Fail("Microsoft Graph refused access to your profile. Ask an administrator to grant User.Read to this application, then connect again.",
			fmt.Errorf("graph: status %d", resp.StatusCode))
	case resp.StatusCode != http.StatusOK:
		return nil, toolkit.Fail(graphDown, fmt.Errorf("graph: status %d", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProfile+1))
	if err == nil && len(body) > maxProfile {
		err = errors.New("graph: the answer is too large")
	}
	var p profile
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		return nil, toolkit.Fail(graphDown, err)
	}
	return &p, nil
}
