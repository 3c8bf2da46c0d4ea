// Package resource is the OAuth resource server in front of the MCP endpoint: it
// decides who may call (RFC 6750, OAuth 2.1 §5), tells a client without a token how
// to get one (RFC 9728), and checks from which web pages requests may come.
package resource

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// Options are what New needs.
type Options struct {
	// Verify judges an access token. An *oauth.Error invalid_token is the
	// token's fault; any other error means that nobody knows, and is answered
	// with 503.
	Verify func(ctx context.Context, raw string) (*grants.Access, error)
	// VerifyEntra judges tokens that are Entra's own by their header. Its error
	// is an *entra.Refusal, or it means that nobody knows. If it is nil, Verify
	// gets all tokens.
	VerifyEntra func(ctx context.Context, raw string) (*grants.Access, error)
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
	// ScopesFor are the further scopes that a JSON-RPC method needs for what it
	// names: a tool or prompt by its name, a resource by its URI.
	ScopesFor func(method, name string) oauth.Scopes
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
	// Admit is asked before a request is refused that has no token which is
	// valid. If it returns false, it has answered the request.
	Admit func(http.ResponseWriter, *http.Request) bool
	Log   *slog.Logger
}

// Guard is the bearer check. It keeps no state between requests.
type Guard struct {
	verify       func(ctx context.Context, raw string) (*grants.Access, error)
	verifyEntra  func(ctx context.Context, raw string) (*grants.Access, error)
	baseline     oauth.Scopes
	scopesFor    func(method, name string) oauth.Scopes
	endpoint     *url.URL
	origins      originPolicy
	inAzure      bool
	admit        func(http.ResponseWriter, *http.Request) bool
	metadata     metadata
	metadataPath string // the one that the challenge names
	metadataURL  string
	log          *slog.Logger
}

// New makes a guard. It panics if Resource is not an absolute URL: the
// configuration has been checked before.
func New(o Options) *Guard {
	endpoint, err := url.Parse(string(o.Resource))
	if err != nil || endpoint.Host == "" {
		panic("resource: the resource is not an absolute URL")
	}
	g := &Guard{
		verify:       o.Verify,
		verifyEntra:  o.VerifyEntra,
		baseline:     withoutOffline(o.Baseline),
		scopesFor:    o.ScopesFor,
		endpoint:     endpoint,
		origins:      newOriginPolicy(endpoint, o.AllowedOrigins, o.AllowedHosts),
		inAzure:      o.InAzure,
		metadataPath: wellKnown + endpoint.EscapedPath(),
		admit:        o.Admit,
		log:          o.Log,
	}
	g.metadataURL = endpoint.Scheme + "://" + endpoint.Host + g.metadataPath
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
	next = withoutCredentials(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.origins.allowsHost(r.Host) {
			g.forbid(w, r, "The Host header does not name this server, which is at "+g.endpoint.String()+".", r.Host)
			return
		}
		if !g.allowOrigin(w, r) {
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
		calls, err := callsOf(r)
		if err != nil {
			unreadable(w, err)
			return
		}
		if !g.inScope(w, r, access, calls) {
			return
		}
		// Streams pass through proxies unbuffered (MCP streamable HTTP,
		// "Sending Messages to the Server").
		w.Header().Set("X-Accel-Buffering", "no")
		w.Header().Set("Cache-Control", "no-store")
		withAccess(access, next).ServeHTTP(w, r)
	})
}

// authenticate answers the request itself and returns nil if there is no good
// token.
func (g *Guard) authenticate(w http.ResponseWriter, r *http.Request) *grants.Access {
	token, err := bearerToken(r)
	switch {
	case (err != nil || token == "") && !g.admit(w, r):
		return nil
	case err != nil:
		g.refuse(w, r, err, challenge{err: oauth.AsError(err), scope: g.baseline})
		return nil
	case token == "":
		// RFC 6750 §3.1: no error code where no token was sent.
		g.refuse(w, r, oauth.New(oauth.NoCredentials, "No access token was sent. Sign in first."+g.rightAddress(r)), challenge{scope: g.baseline})
		return nil
	}
	if g.verifyEntra != nil && entra.LooksLikeEntra(token) {
		return g.authenticateEntra(w, r, token)
	}
	access, err := g.verify(r.Context(), token)
	if err == nil {
		return access
	}
	if oauth.ErrorCode(err) == oauth.InvalidToken {
		if g.admit(w, r) {
			g.refuseToken(w, r, err)
		}
		return nil
	}
	g.undecided(w, r, err)
	return nil
}

// undecided answers where nobody knows whether a token is good.
func (g *Guard) undecided(w http.ResponseWriter, r *http.Request, cause error) {
	wait := max(oauth.AsError(cause).RetryAfter, time.Second)
	oauth.WriteError(w, r, g.log, oauth.Unavailable("The access token cannot be checked now. Try again.", wait, cause))
}

// inScope reports whether access has the scopes that calls need, and else
// answers the request with all that it lacks.
func (g *Guard) inScope(w http.ResponseWriter, r *http.Request, access *grants.Access, calls []call) bool {
	required, refused := g.baseline, ""
	if byItself(access) {
		required = nil
	}
	for _, c := range calls {
		scopes := g.scopesFor(c.method, c.name)
		if refused == "" && !access.Scopes.Has(scopes...) {
			refused = c.name
		}
		required = required.Union(scopes)
	}
	if access.Scopes.Has(required...) {
		return true
	}
	missing := slices.DeleteFunc(slices.Clone(required), func(s string) bool { return access.Scopes.Has(s) })
	observe.Audit(r.Context(), g.log, observe.Event{
		Name: observe.ToolRefused, Client: observe.AuditClient{ID: access.ClientID}, Grant: access.GrantID,
		Subject: string(access.Subject), Tenant: access.TenantID, Scopes: missing, Tool: refused, Reason: string(oauth.InsufficientScope),
	})
	if byItself(access) {
		oauth.WriteError(w, r, g.log, oauth.New(oauth.InsufficientScope, "This operation needs a signed-in user who grants the scope "+missing.String()+"; the caller is an application without a user."))
		return false
	}
	g.requireScopes(w, r, missing, access.Scopes.Union(required))
	return false
}

// bearerToken reads the Authorization header (RFC 6750 §2.1). It is "" if there
// is none or if another scheme is used; an invalid_request if the header is
// malformed. Tokens in the query or a form body are never looked for: URLs end
// up in logs and histories (OAuth 2.1, "Bearer Token Requests"). How long a token
// may be is for its verifier to say.
func bearerToken(r *http.Request) (string, error) {
	lines := r.Header.Values("Authorization")
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines) > 1 {
		return "", oauth.New(oauth.InvalidRequest, "There is more than one Authorization header.")
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	token = strings.TrimSpace(token)
	if strings.ContainsAny(token, " \t,") {
		return "", oauth.New(oauth.InvalidRequest, "The Authorization header does not contain exactly one access token.")
	}
	return token, nil
}

// withAccess gives the request to next with the TokenInfo that the SDK looks
// for. Only the SDK's own middleware can set it, so that runs here with nothing
// left to decide: the token is verified, and its expiry judged by the
// verifier's clock.
func withAccess(access *grants.Access, next http.Handler) http.Handler {
	info := &auth.TokenInfo{
		Scopes: access.Scopes,
		UserID: string(access.Subject),
		Extra:  map[string]any{grants.AccessKey: access},
	}
	verified := func(context.Context, string, *http.Request) (*auth.TokenInfo, error) { return info, nil }
	return auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(next)
}

// withoutCredentials keeps credentials and claims about the user from what
// comes behind: tools see the headers, and must neither pass the client's token
// on (MCP security best practices, "Token Passthrough") nor believe the headers
// with which App Service authentication names a user, which anyone can send
// where that feature is off. The request is the SDK's copy, so that only the
// headers are copied here.
func withoutCredentials(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := make(http.Header, len(r.Header))
		for name, values := range r.Header {
			if name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-Ms-Client-Principal") || strings.HasPrefix(name, "X-Ms-Token-") {
				continue
			}
			header[name] = values
		}
		r.Header = header
		next.ServeHTTP(w, r)
	})
}
