package examples

import (
	"context"
	"time"

	"entramcp/handler/toolkit"
)

type maintenanceInput struct {
	Until time.Time `json:"until" jsonschema:"When it ends."`
}

// Maintenance is for people with the app role Mcp.Admin. Others neither see nor use it.
func Maintenance() toolkit.Catalogue {
	return toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("announce_maintenance", "Announce maintenance to all users.", announce,
			toolkit.RequireRole("Mcp.Admin"), toolkit.HideUnlessAllowed(), toolkit.Additive(), toolkit.ClosedWorld()),
	}}
}

func announce(ctx context.Context, caller *toolkit.Caller, in maintenanceInput) (string, error) {
	if !in.Until.After(time.Now()) {
		return "", toolkit.Fail("It would be over already.", nil)
	}
	who, err := caller.Identity(ctx)
	if err != nil {
		return "", err
	}
	caller.Log.InfoContext(ctx, "maintenance announced", "until", in.Until)
	return "Announced until " + in.Until.Format(time.RFC1123) + ", as " + who.Name + ".", nil
}
