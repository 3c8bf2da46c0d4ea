package account

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// automate does one action for an application with a token of Entra's own and the
// role Mcp.Connections.Manage, such as a workflow for users who leave. Users and
// MCP clients cannot: the role is never in a token of ours.
//
//	POST /account/manage/api
//	Authorization: Bearer <token of Entra>
//	{"do": "sign-out-user", "user": "<object id>"}
func (a *Account) automate(w http.ResponseWriter, r *http.Request) {
	raw, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if a.VerifyRole == nil || !found || raw == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		oauth.WriteError(w, r, a.Log, oauth.New(oauth.InvalidToken, "This endpoint takes an access token of Microsoft Entra ID with the application role "+ManageRole+"."))
		return
	}
	m, err := a.manager(r.Context(), raw)
	if err != nil {
		oauth.WriteError(w, r, a.Log, err)
		return
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		oauth.WriteError(w, r, a.Log, oauth.New(oauth.InvalidRequest, "The body must be application/json."))
		return
	}
	var what action
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForm))
	d.DisallowUnknownFields()
	if err := d.Decode(&what); err != nil {
		oauth.WriteError(w, r, a.Log, oauth.New(oauth.InvalidRequest, "The body is not an action: "+err.Error()))
		return
	}
	if _, err := a.act(r.Context(), m.TenantID, what); err != nil {
		switch {
		case errors.Is(err, errBadAction):
			err = oauth.New(oauth.InvalidRequest, err.Error())
		case errors.Is(err, errNotAllowed):
			err = oauth.New(oauth.AccessDenied, err.Error())
		}
		oauth.WriteError(w, r, a.Log, err)
		return
	}
	e := what.event(m.TenantID)
	e.Client, e.Tenant = observe.AuditClient{ID: m.AppID}, m.TenantID
	observe.Audit(r.Context(), a.Log, e)
	oauth.WriteJSON(w, http.StatusOK, map[string]string{"done": what.Do})
}

// manager is the application to which Entra issued the token raw. It needs no setting:
// nobody has the role unless an administrator assigns it.
func (a *Account) manager(ctx context.Context, raw string) (entra.Caller, error) {
	caller, err := a.VerifyRole(ctx, raw, ManageRole)
	if refusal, ok := errors.AsType[*entra.Refusal](err); ok {
		return entra.Caller{}, refusal.OAuth()
	}
	if err != nil {
		return entra.Caller{}, oauth.Unavailable("The token cannot be checked now. Try again.", retryAfter, err)
	}
	switch block, err := a.Grants.Blocked(ctx, grants.Parties{AppID: caller.AppID, TenantID: caller.TenantID}); {
	case err != nil:
		return entra.Caller{}, err
	case block != nil:
		return entra.Caller{}, caller.Blocked(string(block.Kind)).OAuth()
	}
	return caller, nil
}
