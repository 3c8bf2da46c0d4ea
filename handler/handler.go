// Package handler is the whole server as one http.Handler: New wires the
// packages, and its route table is everything that is served.
package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/account"
	"entramcp/handler/authserver"
	"entramcp/handler/backend"
	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/connect"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/health"
	"entramcp/handler/home"
	"entramcp/handler/keyring"
	"entramcp/handler/middleware"
	"entramcp/handler/pages"
	"entramcp/handler/resource"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/telemetry"
	"entramcp/handler/toolkit"
	"entramcp/handler/tools"
	"entramcp/handler/warnings"
)

// Dependencies are what the server needs from outside. New requires Table and
// Wrapper; Open makes those that are nil.
type Dependencies struct {
	Table   store.Table
	Wrapper keyring.Wrapper
	// HTTPClient calls Entra and Graph; the default honours the proxy settings
	// of the environment.
	HTTPClient *http.Client
	Now        func() time.Time
	Log        *slog.Logger
	// Telemetry may be nil.
	Telemetry *telemetry.Telemetry
	// Catalogue is what the server offers; nil means that of package tools.
	Catalogue *toolkit.Catalogue
	// Configure and Extend may be nil. Configure changes the options of the MCP
	// server before it is made (completion, subscriptions); Extend adds to it before
	// it serves (resources, prompts).
	Configure func(*mcp.ServerOptions)
	Extend    func(*mcp.Server)
}

func (d Dependencies) withDefaults(cfg config.Config) Dependencies {
	if d.HTTPClient == nil {
		d.HTTPClient = &http.Client{Timeout: cfg.Timeout}
	}
	client := *d.HTTPClient
	client.Transport = d.Telemetry.Transport(cmp.Or(client.Transport, newTransport()))
	d.HTTPClient = &client
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// idleConnections is how many connections to one host stay open between requests.
// Nearly all go to Entra: with Go's default of 2, most sign-ins and refreshes that
// overlap would open a connection and agree on TLS each time.
const idleConnections = 64

// newTransport is Go's default transport with idleConnections.
func newTransport() http.RoundTripper {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // the program has one of its own
		return http.DefaultTransport
	}
	t := standard.Clone()
	t.MaxIdleConnsPerHost = idleConnections
	return t
}

// Offered is the server's catalogue: Catalogue, or that of package tools.
func (d Dependencies) Offered() toolkit.Catalogue {
	if d.Catalogue != nil {
		return *d.Catalogue
	}
	return tools.Catalogue()
}

// Server is the server. It is safe for concurrent use.
type Server struct {
	http.Handler

	cfg        config.Config
	deps       Dependencies
	ring       *keyring.Ring
	clients    *clients.Registry
	entra      *entra.Client
	challenges *authserver.ClaimsChallenges
	grants     *grants.Service
	as         *authserver.Server
	tools      *toolkit.Server
	guard      *resource.Guard
	pages      *pages.Pages
	account    *account.Account
	connect    *connect.Connect
	home       *home.Home
	sweep      *sweep.Sweeper
	health     *health.Health
	anonymous  *middleware.Throttle
	refreshes  *middleware.Throttle // see limitTokens
	admission  *middleware.Admission
	started    time.Time
	// prepare is what must be done once before the table can be used.
	prepare func(context.Context) error
	close   func() error
}

// New wires the server. It does no I/O.
func New(cfg config.Config, deps Dependencies) (*Server, error) {
	deps = deps.withDefaults(cfg)
	deps.Table, deps.Wrapper = deps.Telemetry.Table(deps.Table), deps.Telemetry.Wrapper(deps.Wrapper)
	catalogue := deps.Offered()
	if err := catalogue.About.Check(); err != nil {
		return nil, err
	}
	limits := middleware.ThrottleOptions{
		Address: addressLimit(cfg.AddressLimits.Requests), Hosted: cfg.Hosted, InAzure: cfg.InAzure,
	}
	s := &Server{
		cfg: cfg, deps: deps, started: deps.Now(), pages: pages.New(brand(cfg, catalogue.About)),
		anonymous: middleware.NewThrottle(limits), refreshes: middleware.NewThrottle(limits),
		admission: middleware.NewAdmission(cfg.InAzure, deps.Log),
		prepare:   func(context.Context) error { return nil },
		close:     func() error { return nil },
	}
	s.ring = keyring.New(keyring.Options{
		Table: deps.Table, Wrapper: deps.Wrapper, Retention: max(cfg.RefreshLifetime, cfg.AccessTokenLifetime),
		Now: deps.Now, Log: deps.Log,
	})
	var err error
	if s.entra, err = entra.New(EntraConfig(cfg), entra.Deps{
		HTTPClient: deps.HTTPClient, Now: deps.Now, Log: deps.Log,
		TenantAdmitted: func(ctx context.Context, tid string) (bool, error) { return s.grants.TenantAllowed(ctx, tid) },
	}); err != nil {
		return nil, fmt.Errorf("configure Entra: %w", err)
	}
	s.challenges = &authserver.ClaimsChallenges{Table: deps.Table, Ring: s.ring, Now: deps.Now, Log: deps.Log}
	s.grants = s.newGrants()
	if s.clients, err = s.newRegistry(); err != nil {
		return nil, err
	}
	s.as = s.newAuthServer(catalogue)
	s.account = s.newAccount(catalogue.ScopeWords())
	s.connect = s.newConnect(catalogue.ScopeWords())
	s.tools = s.newToolServer(catalogue)
	s.guard = s.newGuard(catalogue)
	if s.home, err = s.newHome(); err != nil {
		return nil, fmt.Errorf("make the home page: %w", err)
	}
	s.sweep = sweep.New(sweep.Options{Table: deps.Table, Kinds: s.kinds(), Interval: cfg.SweepInterval, Now: deps.Now, Log: deps.Log})
	s.health = s.newHealth()
	if err := s.measure(); err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	s.Handler = s.surrounded(s.refusalPages(s.routes()))
	return s, nil
}

// Open is New with the table and the wrapping key that the configuration names, for
// those that are nil in deps. It reads local files; what needs the network happens in
// Run. Close closes what Open opened, and no table of the caller's.
func Open(cfg config.Config, deps Dependencies) (*Server, error) {
	deps = deps.withDefaults(cfg)
	opened := backend.Table{Prepare: func(context.Context) error { return nil }}
	closeTable := func() error { return nil }
	if deps.Table == nil {
		var err error
		if opened, err = backend.OpenTable(cfg, deps.Log); err != nil {
			return nil, err
		}
		deps.Table, closeTable = opened.Table, opened.Close
	}
	if deps.Wrapper == nil {
		var err error
		if deps.Wrapper, err = backend.OpenWrapper(cfg); err != nil {
			return nil, errors.Join(err, closeTable())
		}
	}
	s, err := New(cfg, deps)
	if err != nil {
		return nil, errors.Join(err, closeTable())
	}
	s.prepare, s.close = opened.Prepare, closeTable
	return s, nil
}

// Close releases what Open opened. Run must have returned.
func (s *Server) Close() error { return s.close() }

// Run does the work in the background until ctx ends: keys, revocations,
// Entra's metadata, the sweep, warnings.
func (s *Server) Run(ctx context.Context) {
	if !s.prepared(ctx) {
		return
	}
	reporter := &warnings.Reporter{Current: s.warnings, Now: s.deps.Now, Log: s.deps.Log}
	var wg sync.WaitGroup
	for _, run := range []func(context.Context){s.ring.Run, s.grants.Run, s.entra.Run, s.sweep.Run, reporter.Run, s.admission.Run} {
		wg.Go(func() { run(ctx) })
	}
	wg.Wait()
}

// prepared prepares the table, retrying until it succeeds, and reports whether ctx
// is still valid.
func (s *Server) prepared(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := s.prepare(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		s.deps.Log.ErrorContext(ctx, "the table cannot be prepared and will be tried again", "cause", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// Drain makes /readyz answer 503, before the process stops listening.
func (s *Server) Drain() { s.health.Drain() }
