package toolkit

import (
	"context"
	"log/slog"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// Caller is who a tool runs for, as the verified access token says, and what
// the tool can do in their name. It is valid until the tool returns.
type Caller struct {
	// Subject names the user without saying who it is. It is the same for all
	// clients of a user, and in all of their sign-ins.
	Subject  grants.Subject
	TenantID string
	ClientID string
	// GrantID is the user's sign-in for this client.
	GrantID string
	// Scopes are what the client was allowed, Roles the app roles that Entra
	// assigned to the user. Both are shared with other calls and must not be
	// changed.
	Scopes oauth.Scopes
	Roles  []string
	// Log writes with the correlation id, the tool and the subject.
	Log *slog.Logger
	// Request is the MCP request, for what this type leaves out. Its headers
	// hold no credential.
	Request mcp.Request

	server *Server
	tool   Tool
	grant  func(context.Context) (grants.Grant, error)
}

// Identity is the user in words and by Entra's ids. The first call reads the
// grant from the table; its errors are *oauth.Error, invalid_token if the
// sign-in has ended.
func (c *Caller) Identity(ctx context.Context) (grants.Identity, error) {
	grant, err := c.grant(ctx)
	return grant.Identity, err
}

// Server describes the server that the tool runs in.
func (c *Caller) Server() Description { return c.server.describe() }

// accessOf finds the access that the bearer check left in the request.
func accessOf(req mcp.Request) (*grants.Access, bool) {
	extra := req.GetExtra()
	if extra == nil || extra.TokenInfo == nil {
		return nil, false
	}
	access, ok := extra.TokenInfo.Extra[grants.AccessKey].(*grants.Access)
	return access, ok && access != nil
}

// callerOf is the caller of one request. Without an access there is none: a
// tool is never run for nobody.
func (s *Server) callerOf(t Tool, req mcp.Request) (*Caller, bool) {
	access, ok := accessOf(req)
	if !ok {
		return nil, false
	}
	c := &Caller{
		Subject: access.Subject, TenantID: access.TenantID, ClientID: access.ClientID, GrantID: access.GrantID,
		Scopes: access.Scopes, Roles: access.Roles,
		Log:     s.log.With("tool", t.definition.Name, "subject", string(access.Subject)),
		Request: req, server: s, tool: t,
	}
	c.grant = once(func(ctx context.Context) (grants.Grant, error) {
		return s.grants.Get(ctx, access.Subject, access.GrantID)
	})
	return c, true
}

// once keeps the first success of get.
func once(get func(context.Context) (grants.Grant, error)) func(context.Context) (grants.Grant, error) {
	var (
		mu    sync.Mutex
		known bool
		grant grants.Grant
	)
	return func(ctx context.Context) (grants.Grant, error) {
		mu.Lock()
		defer mu.Unlock()
		if known {
			return grant, nil
		}
		got, err := get(ctx)
		if err == nil {
			known, grant = true, got
		}
		return got, err
	}
}
