package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
		b.WriteString(`error="` + string(c.err.Code) + `", error_description="` + oauth.Describe(c.err.Description) + `", `)
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

// invalidToken says that a token is not good. What exactly is wrong helps only
// anybody who tries out forgeries, so it only goes to the log.
func invalidToken(cause error) *oauth.Error {
	return oauth.New(oauth.InvalidToken, "The access token is not valid here, has expired or was revoked.").Because(cause)
}

func (g *Guard) refuseToken(w http.ResponseWriter, r *http.Request, cause error) {
	refused := invalidToken(cause)
	g.refuse(w, r, refused, challenge{err: refused, scope: g.baseline})
}

// rightAddress is a sentence for a client that was given another name of the
// server, which RFC 9728 §3.3 tells it to refuse: the name that counts.
func (g *Guard) rightAddress(r *http.Request) string {
	asked := *g.endpoint
	asked.Host = r.Host
	if oauth.Origin(&asked) == oauth.Origin(g.endpoint) {
		return ""
	}
	return " The address of this server is " + g.endpoint.String() + ": use it unchanged."
}

// requireScopes asks for more scopes. The challenge names all that the client
// needs for the operation together with those it has: some clients ask for
// exactly what the challenge says and would lose the others. The body names what
// is missing, as it is all that many clients show.
func (g *Guard) requireScopes(w http.ResponseWriter, r *http.Request, missing, all oauth.Scopes) {
	scopes := "the scope " + missing.String() + ", which was"
	if len(missing) > 1 {
		scopes = "the scopes " + missing.String() + ", which were"
	}
	refused := oauth.New(oauth.InsufficientScope, "This operation needs "+scopes+" not granted. Connect to the server again and approve what it asks for.")
	g.refuse(w, r, refused, challenge{err: refused, scope: withoutOffline(all)})
}

// forbid is a refusal that no token would change: there is no challenge. The
// log shows the header at fault, so that an operator can allow what belongs.
func (g *Guard) forbid(w http.ResponseWriter, r *http.Request, description, header string) {
	if !g.admit(w, r) {
		return
	}
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
	refusal := `{"code":-32700,"message":"The body is not a JSON-RPC message."}`
	if errors.Is(err, errLongBatch) {
		refusal = fmt.Sprintf(`{"code":-32600,"message":"The batch has more than %d messages."}`, maxBatch)
	}
	oauth.WriteJSON(w, http.StatusBadRequest, json.RawMessage(`{"jsonrpc":"2.0","id":null,"error":`+refusal+`}`))
}
