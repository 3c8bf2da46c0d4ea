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
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/account"
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/connect"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/health"
	"entramcp/handler/home"
	"entramcp/handler/keyring"
	"entramcp/handler/mcphttp"
	"entramcp/handler/middleware"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/resource"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/telemetry"
	"entramcp/handler/toolkit"
	"entramcp/handler/tools"
	"entramcp/handler/version"
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
	// Configure and Extend, if not nil, make more of the MCP server than its
	// tools: Configure before it is made (completion, subscriptions), Extend
	// before it serves (resources, prompts).
	Configure func(*mcp.ServerOptions)
	Extend    func(*mcp.Server)
}

// Server is the server. It is safe for concurrent use.
type Server struct {
	http.Handler

	cfg        config.Config
	deps       Dependencies
	ring       *keyring.Ring
	entra      *entra.Client
	challenges *authserver.ClaimsChallenges
	grants     *grants.Service
	as         *authserver.Server
	sweep      *sweep.Sweeper
	health     *health.Health
	pages      *pages.Pages
	admission  *middleware.Admission
	home       *home.Home
	connect    *connect.Connect
	account    *account.Account
	// prepare is what must be done once before the table can be used.
	prepare func(context.Context) error
	close   func() error
}

// New wires the server. It does no I/O.
func New(cfg config.Config, deps Dependencies) (*Server, error) {
	deps = deps.withDefaults(cfg)
	deps.Table = deps.Telemetry.Table(deps.Table)
	s := &Server{
		cfg: cfg, deps: deps,
		admission: middleware.NewAdmission(deps.Log),
		prepare:   func(context.Context) error { return nil },
		close:     func() error { return nil },
	}
	s.ring = keyring.New(keyring.Options{
		Table: deps.Table, Wrapper: deps.Wrapper, Retention: max(cfg.RefreshLifetime, cfg.AccessTokenLifetime),
		Now: deps.Now, Log: deps.Log,
	})
	registry, err := s.newRegistry()
	if err != nil {
		return nil, err
	}
	s.entra, err = entra.New(EntraConfig(cfg), entra.Deps{HTTPClient: deps.HTTPClient, Now: deps.Now, Log: deps.Log})
	if err != nil {
		return nil, fmt.Errorf("configure Entra: %w", err)
	}
	s.challenges = &authserver.ClaimsChallenges{Table: deps.Table, Ring: s.ring, Now: deps.Now, Log: deps.Log}
	catalogue := deps.Offered()
	if err := catalogue.About.Check(); err != nil {
		return nil, err
	}
	s.pages = pages.New(brand(cfg, catalogue.About))
	scopes := catalogue.Scopes(cfg.Entra.APIScope != "")
	s.grants = grants.New(grants.Options{
		Table: deps.Table, Ring: s.ring, Issuer: cfg.Issuer, Resource: cfg.Resource,
		Required:       cfg.RequiredScopes,
		AccessLifetime: cfg.AccessTokenLifetime, RefreshLifetime: cfg.RefreshLifetime,
		GrantLifetime: cfg.GrantLifetime, RefreshGrace: cfg.RefreshGrace,
		Recheck: cfg.Recheck, Renew: authserver.Renewer{Upstream: s.entra, Challenges: s.challenges}.Renew,
		Now: deps.Now, Log: deps.Log,
	})
	s.as = authserver.New(authserver.Options{
		Issuer: cfg.Issuer, Resource: cfg.Resource, CallbackPath: cfg.RedirectPath,
		Table: deps.Table, Ring: s.ring, Clients: registry, Grants: s.grants, Upstream: s.entra, Challenges: s.challenges,
		Required: cfg.RequiredScopes, Optional: scopes, ScopeWords: catalogue.ScopeWords(),
		Pages: s.pages, Tenant: cfg.Entra.TenantID,
		ClientMetadata: registry.AcceptsDocuments(), InAzure: cfg.InAzure,
		RememberApprovals: cfg.RememberConsent && !cfg.SharedHost,
		PageSignIns: map[string]authserver.PageSignIn{accountSignIn: pageSignInFunc(func(ctx context.Context, signIn entra.SignIn) (string, *http.Cookie, error) {
			return s.account.Finish(ctx, signIn)
		}), connectSignIn: connectFinish{s}},
		Prompt: cfg.Entra.Prompt, DomainHint: cfg.Entra.DomainHint,
		Timeout: cfg.Timeout + storageShare, Now: deps.Now, Log: deps.Log,
	})
	s.account = s.newAccount(catalogue.ScopeWords())
	s.connect = s.newConnect(catalogue.ScopeWords())
	offered := s.newToolServer(catalogue)
	guard := resource.New(resource.Options{
		Verify: s.grants.Verify, VerifyEntra: s.entraCallers(scopes), Issuer: cfg.Issuer, Resource: cfg.Resource, Name: catalogue.About.Title,
		Baseline: cfg.RequiredScopes, ScopesFor: offered.ScopesFor,
		AllowedOrigins: cfg.AllowedOrigins, AllowedHosts: siteHosts(cfg), InAzure: cfg.InAzure, Log: deps.Log,
	})
	s.sweep = sweep.New(sweep.Options{Table: deps.Table, Kinds: s.kinds(), Interval: cfg.SweepInterval, Now: deps.Now, Log: deps.Log})
	s.health = health.New(health.Options{
		Checks: map[string]func(context.Context) error{"storage": s.storageReady, "keys": s.ring.Ready, "revocations": s.grants.Ready, "entra": s.entra.Ready},
		Now:    deps.Now, Log: deps.Log,
	})
	if s.home, err = home.New(home.Options{
		About: offered.About(), Pages: s.pages, Endpoint: cfg.Resource, Account: s.accountPath(), Version: version.String(), Tools: offered.Open(),
		InAzure: cfg.InAzure, RegistryProof: cfg.RegistryProof, AppsChallenge: cfg.AppsChallenge,
	}); err != nil {
		return nil, fmt.Errorf("make the page at the root: %w", err)
	}
	s.Handler = s.surrounded(s.inWords(s.routes(guard, offered)))
	return s, nil
}

// brand is how the server of cfg looks to people.
func brand(cfg config.Config, about toolkit.About) pages.Brand {
	b := pages.Brand{
		Title: cmp.Or(about.Title, about.Name), Accent: about.Accent, Website: about.Website, Privacy: about.Privacy, Terms: about.Terms,
		Support: about.Support, Simulated: cfg.Entra.Simulated(),
	}
	if u, err := url.Parse(cfg.Issuer); err == nil {
		b.Host = u.Host
	}
	for _, icon := range about.Icons {
		if strings.HasPrefix(icon.Source, "data:") {
			b.Icon = icon.Source
			break
		}
	}
	return b
}

// siteHosts are names beside that of the issuer under which the platform calls.
func siteHosts(cfg config.Config) []string {
	if cfg.SiteHost == "" {
		return nil
	}
	return []string{cfg.SiteHost}
}

const (
	// storageShare is what a request may spend on the table beside its call to
	// Entra. With the default TIMEOUT_SECONDS of 8 that makes 9.5 s: clients
	// that wait 10 s still get the 503 with its Retry-After, and repeat the
	// request.
	storageShare = 1500 * time.Millisecond
	// bodyTime is how long the body of a request may take to arrive, and
	// callBodyTime that of a call, which may have 4 MiB.
	bodyTime     = 10 * time.Second
	callBodyTime = 30 * time.Second
	// retryAfter is for callers that are told 503.
	retryAfter = 5 * time.Second

	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// routes is the whole route table.
func (s *Server) routes(guard *resource.Guard, offered *toolkit.Server) http.Handler {
	mux := http.NewServeMux()
	for _, path := range guard.MetadataPaths() {
		mux.Handle(path, guard.Metadata())
		mux.Handle(path+"/{$}", guard.Metadata())
	}
	for _, route := range s.as.Routes() {
		mux.Handle(route.Method+" "+route.Path, middleware.Timeout(s.cfg.Timeout+storageShare, route.Handler))
	}
	mux.Handle("/{$}", s.home)
	if s.accountPath() != "" {
		for pattern, page := range s.account.Routes() {
			mux.Handle(pattern, middleware.Timeout(s.cfg.Timeout+storageShare, page))
		}
	}
	for pattern, page := range s.connect.Routes() {
		mux.Handle(pattern, middleware.Timeout(s.cfg.Timeout+storageShare, page))
	}
	for path, document := range s.home.Routes() {
		mux.Handle("GET "+path, document)
	}
	mux.HandleFunc("GET "+healthPath, s.health.Up)
	mux.HandleFunc("GET "+readyPath, s.health.Ready)

	endpoint := guard.Protect(mcphttp.Handler(offered.Handler()))
	mux.Handle(config.MCPPath, endpoint)
	mux.Handle(config.MCPPath+"/{$}", endpoint) // a redirect would lose the body
	return mux
}

// surrounded is what every request passes before its route, from the outside in.
// What an overload refuses costs nothing beyond that.
func (s *Server) surrounded(routes http.Handler) http.Handler {
	h := observe.Correlate(s.deps.Log, observe.CorrelateOptions{
		Hosted: s.cfg.Hosted, Proxies: observe.Proxies{Appended: s.cfg.InAzure, Trusted: s.cfg.TrustedProxies},
	}, s.deps.Telemetry.Middleware(routes))
	h = s.admission.Limit(h, "/", healthPath, readyPath)
	short, long := middleware.BodyDeadline(bodyTime, h), middleware.BodyDeadline(callBodyTime, h)
	h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == config.MCPPath {
			long.ServeHTTP(w, r)
			return
		}
		short.ServeHTTP(w, r)
	})
	h = middleware.BasePath(s.cfg.BasePath, h)
	return middleware.Headers(strings.HasPrefix(s.cfg.Issuer, "https:"), h)
}

// accountPath is where the page of connected apps is, or empty: others who serve
// under the same host could act with its cookie.
func (s *Server) accountPath() string {
	if s.cfg.SharedHost {
		return ""
	}
	return s.cfg.BasePath + account.Path
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

// Drain makes /readyz say no, before the process stops listening.
func (s *Server) Drain() { s.health.Drain() }

// storageReady reads a row that never exists.
func (s *Server) storageReady(ctx context.Context) error {
	if _, err := s.deps.Table.Get(ctx, "ready", "ready"); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

func (d Dependencies) withDefaults(cfg config.Config) Dependencies {
	if d.HTTPClient == nil {
		d.HTTPClient = &http.Client{Timeout: cfg.Timeout}
	}
	client := *d.HTTPClient
	client.Transport = d.Telemetry.Transport(cmp.Or(client.Transport, http.DefaultTransport))
	d.HTTPClient = &client
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

func (s *Server) newRegistry() (*clients.Registry, error) {
	registry, err := clients.New(clients.Options{
		Table: s.deps.Table, Policy: s.cfg.Redirects,
		Documents: clients.Documents{Hosts: s.cfg.MetadataHosts, Pinned: s.cfg.Pinned},
		Issuer:    s.cfg.Issuer, TokenEndpoint: s.cfg.Issuer + "/token", IssuerAudienceOnly: s.cfg.IssuerAudienceOnly,
		Refuse: func(ctx context.Context, id string, redirectURIs []string) error {
			return s.as.CheckRegistration(ctx, id, redirectURIs)
		},
		Now: s.deps.Now, Log: s.deps.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("PINNED_CLIENTS: %w", err)
	}
	return registry, nil
}

// EntraConfig is what cfg says of Entra, as entra.New takes it.
func EntraConfig(cfg config.Config) entra.Config {
	e := cfg.Entra
	return entra.Config{
		Tenant: e.TenantID, AllowedTenants: e.AllowedTenants, ClientID: e.ClientID,
		Secret: entra.Secret(e.ClientSecret), CertificatePath: e.CertificatePath,
		CertificatePassword: entra.Secret(e.CertificatePassword), ManagedIdentityClientID: e.ManagedIdentityClientID,
		SecretExpires: e.SecretExpires,
		APIScope:      e.APIScope, Authority: e.Authority,
		RedirectURI: cfg.Issuer + cfg.RedirectPath, Timeout: cfg.Timeout, MaxRetryAfter: cfg.RefreshGrace / 2,
	}
}

// Offered is what the server offers: Catalogue, or that of package tools.
func (d Dependencies) Offered() toolkit.Catalogue {
	if d.Catalogue != nil {
		return *d.Catalogue
	}
	return tools.Catalogue()
}

func (s *Server) newToolServer(catalogue toolkit.Catalogue) *toolkit.Server {
	o := toolkit.Options{
		Catalogue: catalogue, Grants: s.grants, GraphURL: s.cfg.Entra.GraphURL, HTTPClient: s.deps.HTTPClient,
		Table: s.deps.Table, Sealer: s.ring, Version: version.String(),
		Authentication: "Microsoft Entra ID (tenant " + s.cfg.Entra.TenantID + "), through this server's own OAuth 2.1 authorization server",
		UserCalls:      toolkit.CallLimit(s.cfg.UserCalls), ToolCalls: toolkit.CallLimit(s.cfg.ToolCalls), Deadline: s.cfg.ToolDeadline,
		Telemetry: s.deps.Telemetry, Configure: s.deps.Configure, Now: s.deps.Now, Log: s.deps.Log,
	}
	if s.cfg.Entra.APIScope != "" {
		o.ConsentLink = s.connect.Link
		o.API = &onBehalfOf{exchange: entra.NewOnBehalfOf(s.entra), grants: s.grants, challenges: s.challenges, log: s.deps.Log}
	}
	server := toolkit.New(o)
	if s.deps.Extend != nil {
		s.deps.Extend(server.MCP())
	}
	return server
}
