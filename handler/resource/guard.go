// Package resource stands in front of the MCP endpoint as its OAuth resource
// server: it says who may enter (RFC 6750, OAuth 2.1 §5), how a client without
// a token gets one (RFC 9728), and from which web pages requests may come.
package resource

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// Options are what New needs.
type Options struct {
	// Verify judges an access token. An *oauth.Error invalid_token is the
	// token's fault; any other error means that nobody knows, and is answered
	// with 503.
	Verify func(ctx context.Context, raw string) (*grants.Access, error)
	// Issuer is the authorization server, without a trailing slash.
	Issuer string
	// Resource is the MCP endpoint.
	Resource oauth.Resource
	// Name is shown to users by clients that do so.
	Name string
	// Baseline are the scopes that every request needs. offline_access is
	// never one: it is the client's business (MCP authorization, "Refresh
	// Tokens").
	Baseline oauth.Scopes
	// ScopesFor are the further scopes that a JSON-RPC method, and a tool in
	// the case of tools/call, needs. It may be nil.
	ScopesFor func(method, tool string) oauth.Scopes
	// AllowedOrigins are the origins of web pages that may call, beside our
	// own and, where the server itself is on loopback, those on loopback.
	AllowedOrigins []string
	// AllowedHosts are host names, beside that of Resource, under which a
	// proxy may call.
	AllowedHosts []string
	// InAzure leaves Access-Control-Allow-Origin to the platform, which
	// answers preflights itself and adds the header to answers: twice is an
	// error to browsers.
	InAzure bool
	Log     *slog.Logger
}

// Guard is the bearer check. It keeps no state between requests.
type Guard struct {
	verify       func(ctx context.Context, raw string) (*grants.Access, error)
	baseline     oauth.Scopes
	scopesFor    func(method, tool string) oauth.Scopes
	pages        pages
	inAzure      bool
	metadata     metadata
	metadataPath string // the one that the challenge names
	metadataURL  string
	log          *slog.Logger
}

// New makes a guard. It panics if Resource is no absolute URL: the
// configuration has been checked before.
func New(o Options) *Guard {
	endpoint, err := url.Parse(string(o.Resource))
	if err != nil || endpoint.Host == "" {
		panic("resource: the resource is no absolute URL")
	}
	g := &Guard{
		verify:       o.Verify,
		baseline:     withoutOffline(o.Baseline),
		scopesFor:    o.ScopesFor,
		pages:        newPages(endpoint, o.AllowedOrigins, o.AllowedHosts),
		inAzure:      o.InAzure,
		metadataPath: wellKnown + endpoint.EscapedPath(),
		log:          o.Log,
	}
	g.metadataURL = endpoint.Scheme + "://" + endpoint.Host + g.metadataPath
	if g.scopesFor == nil {
		g.scopesFor = func(string, string) oauth.Scopes { return nil }
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.metadata = metadata{
		Resource:             o.Resource,
		AuthorizationServers: []string{o.Issuer},
		ScopesSupported:      g.baseline,
		BearerMethods:        []string{"header"},
		Name:                 cmp.Or(o.Name, "MCP server with Microsoft Entra ID"),
		Documentation:        o.Issuer + "/",
	}
	return g
}

// Protect lets a request through to next if it comes from where it may, with a
// good token, and with the scopes that the call needs. The token is judged
// before method and body: clients probe with GET and HEAD and look for the
// challenge. next finds the access in the SDK's TokenInfo and never sees the
// token itself.
func (g *Guard) Protect(next http.Handler) http.Handler {
	next = hand(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.pages.host(r.Host) {
			g.forbid(w, r, "The Host header does not name this server.", r.Host)
			return
		}
		if !g.crossOrigin(w, r) {
			g.forbid(w, r, "Requests from this web page are not allowed.", r.Header.Get("Origin"))
			return
		}
		if r.Method == http.MethodOptions {
			g.preflight(w, r)
			return
		}
		access := g.authenticate(w, r)
		if access == nil {
			return
		}
		required, body, err := g.required(r)
		if err != nil {
			unreadable(w, err)
			return
		}
		if !access.Scopes.Has(required...) {
			g.elevate(w, r, access, required)
			return
		}
		r = admitted(r, access)
		r.Body = body
		// Streams pass through proxies unbuffered (MCP streamable HTTP,
		// "Sending Messages to the Server").
		w.Header().Set("X-Accel-Buffering", "no")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// authenticate answers the request itself and returns nil if there is no good
// token.
func (g *Guard) authenticate(w http.ResponseWriter, r *http.Request) *grants.Access {
	token, err := credential(r)
	switch {
	case err != nil:
		g.refuse(w, r, err, challenge{err: oauth.AsError(err), scope: g.baseline})
		return nil
	case token == "":
		// RFC 6750 §3.1: no error code where no token was sent.
		g.refuse(w, r, oauth.New(oauth.InvalidToken, "No access token was sent. Sign in first."), challenge{scope: g.baseline})
		return nil
	}
	access, err := g.verify(r.Context(), token)
	if err == nil {
		return access
	}
	if errors.Is(err, oauth.New(oauth.InvalidToken, "")) {
		// What exactly is wrong helps only those who try out forgeries.
		refused := oauth.New(oauth.InvalidToken, "The access token is not valid here, has expired or was revoked.").Because(err)
		g.refuse(w, r, refused, challenge{err: refused, scope: g.baseline})
		return nil
	}
	wait := max(oauth.AsError(err).RetryAfter, time.Second)
	oauth.WriteError(w, r, g.log, oauth.Unavailable("The access token cannot be checked now. Try again.", wait, err))
	return nil
}
