package toolkit

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
)

// OnBehalfOf gets tokens for other APIs in the name of the signed-in user.
type OnBehalfOf interface {
	// Token returns a token for scopes of one API, such as
	// "https://graph.microsoft.com/User.Read". An *entra.Failure says what the
	// user or the administrator can do, with ConsentURL where consent is
	// missing.
	Token(ctx context.Context, grant grants.Grant, scopes ...string) (entra.APIToken, error)
	// Refused says that the API did not take token, so that the next call gets
	// another one.
	Refused(grant grants.Grant, token entra.APIToken, scopes ...string)
}

// CanCallAPIs reports whether this server gets tokens for other APIs at all:
// its app registration must expose a scope of its own.
func (c *Caller) CanCallAPIs() bool { return c.server.api != nil }

// Token returns Entra's token for scopes of one API, in the name of the caller.
// A bare scope such as User.Read is Microsoft Graph's, as everywhere in Entra;
// that of another API is written out: api://…/Files.Read. The tool must declare
// each by CallAPI and the client must have been granted
// it. The token is for that API and goes nowhere else; HTTPClient sees to that.
func (c *Caller) Token(ctx context.Context, scopes ...string) (entra.APIToken, error) {
	if !c.CanCallAPIs() {
		return entra.APIToken{}, Fail("This server is not set up to call other services for you.", nil)
	}
	full := make([]string, 0, len(scopes))
	for _, scope := range scopes {
		if !c.tool.api.Has(scope) {
			return entra.APIToken{}, Fail("This tool may not use the scope "+scope+".", fmt.Errorf("toolkit: %s uses the scope %s without declaring it", c.tool.definition.Name, scope))
		}
		if !c.Scopes.Has(scope) {
			return entra.APIToken{}, Fail("This tool needs the scope "+scope+". Connect again and grant it.", nil)
		}
		full = append(full, c.server.apiScope(scope))
	}
	if len(full) == 0 || slices.ContainsFunc(full, func(s string) bool { return audience(s) != audience(full[0]) }) {
		return entra.APIToken{}, Fail("The tool failed unexpectedly.", fmt.Errorf("toolkit: %s asks for one token with the scopes %q", c.tool.definition.Name, scopes))
	}
	grant, err := c.grant(ctx)
	if err != nil {
		return entra.APIToken{}, err
	}
	return c.server.api.Token(ctx, grant, full...)
}

// GraphURL is the origin of Microsoft Graph in this server's cloud.
func (c *Caller) GraphURL() string { return c.server.graphURL }

// apiScope is scope as Entra wants it.
func (s *Server) apiScope(scope string) string {
	if strings.Contains(scope, "/") {
		return scope
	}
	return s.graphURL + "/" + scope
}

// audience is the API that a scope belongs to.
func audience(scope string) string {
	if i := strings.LastIndexByte(scope, '/'); i > 0 {
		return scope[:i]
	}
	return scope
}

// HTTPClient calls the API that scopes belong to, as the user. The token goes to
// that API's https origin only, and no redirect is followed to another one.
func (c *Caller) HTTPClient(scopes ...string) *http.Client {
	return &http.Client{
		Timeout:   c.server.client.Timeout,
		Transport: &asUser{caller: c, scopes: scopes},
	}
}

// asUser adds the token of the caller to requests for one origin.
type asUser struct {
	caller *Caller
	scopes []string
}

func (t *asUser) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.caller.server.client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	if len(t.scopes) == 0 || origin(r.URL) != origin(parsed(t.caller.server.apiScope(t.scopes[0]))) {
		return next.RoundTrip(r)
	}
	token, err := t.caller.Token(r.Context(), t.scopes...)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	return next.RoundTrip(r)
}

func parsed(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		return &url.URL{}
	}
	return u
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
