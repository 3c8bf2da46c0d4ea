package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// challenge is the WWW-Authenticate header (RFC 6750 §3, RFC 9728 §5.1).
type challenge struct {
	err   *oauth.Error // nil if no token was sent
	scope oauth.Scopes
}

// header prints the challenge. Bearer is the only scheme and every parameter is
// quoted: clients in the field read just the first scheme, and with a regular
// expression. Neither descriptions, scope tokens nor URLs hold quotes.
func (c challenge) header(metadataURL string) string {
	var b strings.Builder
	b.WriteString("Bearer ")
	if c.err != nil {
		b.WriteString(`error="` + string(c.err.Code) + `", error_description="` + c.err.Description + `", `)
	}
	if len(c.scope) > 0 {
		b.WriteString(`scope="` + c.scope.String() + `", `)
	}
	b.WriteString(`resource_metadata="` + metadataURL + `"`)
	return b.String()
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error, c challenge) {
	w.Header().Set("WWW-Authenticate", c.header(g.metadataURL))
	oauth.WriteError(w, r, g.log, err)
}

// elevate asks for more scopes. The challenge names all that the client needs
// for the operation together with those it has: some clients ask for exactly
// what the challenge says and would lose the others.
func (g *Guard) elevate(w http.ResponseWriter, r *http.Request, access *grants.Access, required oauth.Scopes) {
	g.log.LogAttrs(r.Context(), slog.LevelInfo, "scope elevation",
		slog.String("subject", string(access.Subject)), slog.String("grant_id", access.GrantID),
		slog.String("client_id", access.ClientID),
		slog.String("granted", access.Scopes.String()), slog.String("required", required.String()))
	refused := oauth.New(oauth.InsufficientScope, "This operation needs more scopes than were granted.")
	g.refuse(w, r, refused, challenge{err: refused, scope: withoutOffline(access.Scopes.Union(required))})
}

// forbid is a refusal that no token would change: there is no challenge. The
// log shows the header at fault, so that an operator can allow what belongs.
func (g *Guard) forbid(w http.ResponseWriter, r *http.Request, description, header string) {
	oauth.WriteError(w, r, g.log, oauth.New(oauth.AccessDenied, description).Because(fmt.Errorf("it is %.200q", header)))
}

// withoutOffline leaves offline_access out: whether there are refresh tokens is
// between the client and the authorization server (MCP authorization, "Refresh
// Tokens").
func withoutOffline(scopes oauth.Scopes) oauth.Scopes {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == "offline_access" })
}

// unreadable refuses a body in the words of JSON-RPC 2.0 §5.1.
func unreadable(w http.ResponseWriter, err error) {
	refusal := `{"code":-32700,"message":"The body is no JSON-RPC message."}`
	if errors.Is(err, errLongBatch) {
		refusal = fmt.Sprintf(`{"code":-32600,"message":"The batch has more than %d messages."}`, maxBatch)
	}
	oauth.WriteJSON(w, http.StatusBadRequest, json.RawMessage(`{"jsonrpc":"2.0","id":null,"error":`+refusal+`}`))
}
