// Package handler is the whole server as one http.Handler: New wires the rooms,
// and its route table is everything that is served.
package handler

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/authserver"
	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/resource"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/tools"
)

// Dependencies are what the server needs from outside. Table and Wrapper are
// required.
type Dependencies struct {
	Table   store.Table
	Wrapper keyring.Wrapper
	// HTTPClient calls Entra and Graph; the default honours the proxy settings
	// of the environment.
	HTTPClient *http.Client
	Now        func() time.Time
	Rand       io.Reader
	Log        *slog.Logger
	// Tools are served beside those of the catalogue.
	Tools []tools.Tool
	// Configure and Extend, if not nil, make more of the MCP server than its
	// tools: Configure before it is made (completion, subscriptions), Extend
	// before it serves (resources, prompts).
	Configure func(*mcp.ServerOptions)
	Extend    func(*mcp.Server)
}

// Server is the server. It is safe for concurrent use.
type Server struct {
	http.Handler

	cfg    config.Config
	deps   Dependencies
	ring   *keyring.Ring
	entra  *entra.Client
	grants *grants.Service
	as     *authserver.Server
	sweep  *sweep.Sweeper
	// onBehalfOf is nil without an API scope.
	onBehalfOf *onBehalfOf
	// prepare is what must be done once before the table can be used.
	prepare func(context.Context) error
	close   func() error
}

// New wires the server. It does no I/O.
func New(cfg config.Config, deps Dependencies) (*Server, error) {
	deps = deps.withDefaults(cfg)
	s := &Server{cfg: cfg, deps: deps, close: func() error { return nil }}
	s.ring = keyring.New(keyring.Options{
		Table: deps.Table, Wrapper: deps.Wrapper, Retention: max(cfg.RefreshLifetime, cfg.AccessTokenLifetime),
		Now: deps.Now, Rand: deps.Rand, Log: deps.Log,
	})
	registry, err := s.newRegistry()
	if err != nil {
		return nil, err
	}
	s.entra, err = entra.New(EntraConfig(cfg), entra.Deps{HTTPClient: deps.HTTPClient, Now: deps.Now, Rand: deps.Rand, Log: deps.Log})
	if err != nil {
		return nil, fmt.Errorf("configure Entra: %w", err)
	}
	offered := s.newTools()
	s.grants = grants.New(grants.Options{
		Table: deps.Table, Ring: s.ring, Issuer: cfg.Issuer, Resource: cfg.Resource,
		KnownScopes:    cfg.RequiredScopes.Union(offered.Scopes()).Union(oauth.NewScopes("offline_access")),
		AccessLifetime: cfg.AccessTokenLifetime, RefreshLifetime: cfg.RefreshLifetime,
		Now: deps.Now, Log: deps.Log,
	})
	s.as = authserver.New(authserver.Options{
		Issuer: cfg.Issuer, Resource: cfg.Resource, CallbackPath: cfg.RedirectPath,
		Table: deps.Table, Ring: s.ring, Clients: registry, Grants: s.grants, Upstream: s.entra,
		Required: cfg.RequiredScopes, Optional: offered.Scopes(), ScopeWords: offered.ScopeWords(),
		Tenant: cfg.Entra.TenantID, Simulated: cfg.Entra.Simulated(),
		ClientMetadata: registry.AcceptsDocuments(), InAzure: cfg.InAzure,
		Timeout: cfg.Timeout + storageShare, Now: deps.Now, Log: deps.Log,
	})
	if s.onBehalfOf != nil {
		s.onBehalfOf.grants, s.onBehalfOf.remember = s.grants, s.as.KeepClaimsChallenge
	}
	guard := resource.New(resource.Options{
		Verify: s.grants.Verify, Issuer: cfg.Issuer, Resource: cfg.Resource, Name: s.as.Name,
		Baseline: cfg.RequiredScopes, ScopesFor: offered.ScopesFor,
		AllowedOrigins: cfg.AllowedOrigins, AllowedHosts: siteHosts(cfg), InAzure: cfg.InAzure, Log: deps.Log,
	})
	s.sweep = sweep.New(sweep.Options{Table: deps.Table, Now: deps.Now, Rand: deps.Rand, Log: deps.Log})
	s.Handler = observe.Correlate(deps.Log, observe.CorrelateOptions{
		Hosted: cfg.Hosted, Proxies: observe.Proxies{Appended: cfg.InAzure},
	}, s.routes(guard, offered))
	return s, nil
}

// siteHosts are names beside that of the issuer under which the platform calls.
func siteHosts(cfg config.Config) []string {
	if cfg.SiteHost == "" {
		return nil
	}
	return []string{cfg.SiteHost}
}

// routes is the whole route table.
func (s *Server) routes(guard *resource.Guard, offered *tools.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(config.MCPPath, guard.Protect(offered.Handler()))
	for _, path := range guard.MetadataPaths() {
		mux.Handle(path, guard.Metadata())
		mux.Handle(path+"/{$}", guard.Metadata())
	}
	for _, route := range s.as.Routes() {
		mux.Handle(route.Method+" "+route.Path, bounded(s.cfg.Timeout+storageShare, route.Handler))
	}
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	return mux
}

// Run does what goes on in the background until ctx ends: keys, revocations,
// Entra's metadata, the sweep.
func (s *Server) Run(ctx context.Context) {
	if !s.prepared(ctx) {
		return
	}
	var wg sync.WaitGroup
	for _, run := range []func(context.Context){s.ring.Run, s.grants.Run, s.entra.Run, s.sweep.Run} {
		wg.Go(func() { run(ctx) })
	}
	wg.Wait()
}

// prepared readies the table, as often as it takes, and says whether ctx still
// lasts.
func (s *Server) prepared(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; s.prepare != nil; wait = min(2*wait, 10*time.Second) {
		err := s.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false
		}
		s.deps.Log.ErrorContext(ctx, "the table cannot be prepared; it will be tried again", "cause", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
	return ctx.Err() == nil
}

// Close releases what Open opened. Run must have returned.
func (s *Server) Close() error { return s.close() }

func (d Dependencies) withDefaults(cfg config.Config) Dependencies {
	if d.HTTPClient == nil {
		d.HTTPClient = &http.Client{Timeout: cfg.Timeout}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Rand == nil {
		d.Rand = rand.Reader
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}
