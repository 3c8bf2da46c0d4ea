package examples

import (
	"context"
	"errors"
	"net/http"

	"entramcp/handler/toolkit"
)

type manager struct {
	Name  string `json:"displayName"`
	Mail  string `json:"mail,omitempty"`
	Title string `json:"jobTitle,omitempty"`
}

const userReadAll = "User.Read.All"

// MyManager reads Microsoft Graph as the user. Where consent at Entra is missing, the
// error holds the link, and clients that can open it for the user.
func MyManager() toolkit.Catalogue {
	return toolkit.Catalogue{Tools: []toolkit.Tool{toolkit.Define("my_manager", "Who is my manager?", myManager,
		toolkit.ReadOnly(), toolkit.RequireScopes(userReadAll), toolkit.CallAPI(userReadAll),
		toolkit.DescribeScope(userReadAll, "Read the profiles of people in your organization"))}}
}

func myManager(ctx context.Context, caller *toolkit.Caller, _ struct{}) (manager, error) {
	var m manager
	err := caller.GetJSON(ctx, "/v1.0/me/manager?$select=displayName,mail,jobTitle", &m, userReadAll)
	if refused := new(toolkit.APIError); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return m, toolkit.Fail("Your directory names no manager for you.", err)
	}
	return m, err
}
