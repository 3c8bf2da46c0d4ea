package toolkit

import (
	"context"
	"log/slog"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// Caller is who a tool, resource or prompt runs for, as the verified access token
// says, and what can be done on their behalf. It must not be used after the function
// that gets it has returned.
type Caller struct {
	// Kind is grants.User, or an application or agent that calls by itself.
	Kind grants.CallerKind
	// Subject identifies the user without naming them. It is the same for all of a
	// user's clients and sign-ins.
	Subject  grants.Subject
	TenantID string
	ClientID string
	// GrantID is the user's sign-in for this client. It is empty for callers with a
	// token that Entra issued.
	GrantID string
	// Scopes are what the client was allowed, Roles the app roles that Entra
	// assigned. Other calls share both: they must not be changed.
	Scopes oauth.Scopes
	Roles  []string
	// Log adds the correlation ID of the request, the tool and the subject. Do not
	// log arguments and results: they are the user's.
	Log *slog.Logger
	// Request is the MCP request, for what this type does not have. Its headers
	// contain no credential.
	Request mcp.Request

	server     *Server
	definition *definition
	access     *grants.Access
	prepare    func(*Call) error // checks the arguments
	arguments  []byte            // checked, for the state of a question
	grant      lazy[grants.Grant]
	talk       lazy[*conversation]
	progressed progressed
}

// lazy keeps the first success of a function, and calls it once at a time.
type lazy[T any] struct {
	mu    sync.Mutex
	value *T
}

func (r *lazy[T]) get(read func() (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value != nil {
		return *r.value, nil
	}
	v, err := read()
	if err == nil {
		r.value = &v
	}
	return v, err
}

// Identity is the user: Entra's IDs, name and user principal name. The first call
// reads the grant from the table; its errors are *oauth.Error, invalid_token if the
// sign-in has ended. An application has no name here.
func (c *Caller) Identity(ctx context.Context) (grants.Identity, error) {
	if c.access.Identity != nil {
		return *c.access.Identity, nil
	}
	grant, err := c.signIn(ctx)
	return grant.Identity, err
}

// signIn is the grant behind the call.
func (c *Caller) signIn(ctx context.Context) (grants.Grant, error) {
	if !c.access.Assertion.IsZero() { // a token that Entra issued
		return grants.Grant{
			Subject: c.Subject, ClientID: c.ClientID, Scopes: c.Scopes, Identity: *c.access.Identity,
			Assertion: c.access.Assertion, AssertionExpires: c.access.Expires,
		}, nil
	}
	return c.grant.get(func() (grants.Grant, error) { return c.server.grants.Get(ctx, c.Subject, c.GrantID) })
}

// Server describes the server that is called, with the tools that this caller may
// see.
func (c *Caller) Server() Description { return c.server.describe(c.access) }

// accessOf finds the access that the bearer check left in the request.
func accessOf(req mcp.Request) (*grants.Access, bool) {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil, false
	}
	access, ok := extra.TokenInfo.Extra[grants.AccessKey].(*grants.Access)
	return access, ok && access != nil
}

// callerOf is the caller of one request. Without an access it is an error, and
// nothing runs.
func (s *Server) callerOf(d *definition, req mcp.Request) (*Caller, bool) {
	access, ok := accessOf(req)
	if !ok {
		return nil, false
	}
	c := &Caller{
		Kind: access.Kind, Subject: access.Subject, TenantID: access.TenantID,
		ClientID: access.ClientID, GrantID: access.GrantID, Scopes: access.Scopes, Roles: access.Roles,
		Request: req, server: s, definition: d, access: access,
	}
	c.Log = slog.New(callerLog{c})
	return c, true
}

// callerLog adds the attributes of Caller.Log only when something is logged, because
// most calls log nothing.
type callerLog struct{ *Caller }

func (l callerLog) handler() slog.Handler {
	return l.server.log.Handler().WithAttrs([]slog.Attr{
		slog.String(string(l.definition.kind), l.definition.name), slog.String("subject", string(l.access.Subject)),
	})
}

func (l callerLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.server.log.Handler().Enabled(ctx, level)
}

func (l callerLog) Handle(ctx context.Context, r slog.Record) error {
	return l.handler().Handle(ctx, r)
}
func (l callerLog) WithAttrs(attrs []slog.Attr) slog.Handler { return l.handler().WithAttrs(attrs) }
func (l callerLog) WithGroup(name string) slog.Handler       { return l.handler().WithGroup(name) }
