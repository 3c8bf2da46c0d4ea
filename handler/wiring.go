package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

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
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/ratelimit"
	"entramcp/handler/resource"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/toolkit"
	"entramcp/handler/version"
)

// What New makes, part by part, from cfg and deps.

func (s *Server) newRegistry() (*clients.Registry, error) {
	registry, err := clients.New(clients.Options{
		Table: s.deps.Table, Policy: s.cfg.Redirects,
		Documents: clients.Documents{Hosts: s.cfg.MetadataHosts, Pinned: s.cfg.Pinned},
		Issuer:    s.cfg.Issuer, TokenEndpoint: s.cfg.Issuer + "/token", IssuerAudienceOnly: s.cfg.IssuerAudienceOnly,
		Refuse: authserver.RegistrationCheck{Grants: s.grants, Log: s.deps.Log}.Check,
		Limits: clients.Limits{
			Registrations:    addressLimit(s.cfg.AddressLimits.Registrations),
			Fetches:          addressLimit(s.cfg.AddressLimits.Fetches),
			FailedAssertions: addressLimit(s.cfg.AddressLimits.FailedAssertions),
		},
		Now: s.deps.Now, Log: s.deps.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("PINNED_CLIENTS: %w", err)
	}
	return registry, nil
}

func addressLimit(r config.Rate) ratelimit.Limit { return ratelimit.Per(r.Calls, r.Window) }

// EntraConfig converts the settings of Entra for entra.New.
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

// CallerPolicy converts the settings of callers with tokens that Entra issued.
func CallerPolicy(cfg config.Config) entra.CallerPolicy {
	audience := "api://" + cfg.Entra.ClientID
	if cfg.Entra.ResourceURI {
		audience = string(cfg.Resource)
	}
	return entra.CallerPolicy{AppRole: cfg.Entra.AppRole, Clients: cfg.Entra.Clients, Audience: audience + "/.default"}
}

// scopes are the scopes that tools require or can use.
func (s *Server) scopes(catalogue toolkit.Catalogue) oauth.Scopes {
	return catalogue.Scopes(s.cfg.Entra.APIScope != "")
}

func (s *Server) newGrants() *grants.Service {
	return grants.New(grants.Options{
		Table: s.deps.Table, Ring: s.ring, Issuer: s.cfg.Issuer, Resource: s.cfg.Resource,
		Tenants: s.cfg.Entra.Tenants(), Required: s.cfg.RequiredScopes,
		AccessLifetime: s.cfg.AccessTokenLifetime, RefreshLifetime: s.cfg.RefreshLifetime,
		GrantLifetime: s.cfg.GrantLifetime, RefreshGrace: s.cfg.RefreshGrace,
		Recheck: s.cfg.Recheck, Renew: authserver.Renewer{Upstream: s.entra, Challenges: s.challenges}.Renew,
		Now: s.deps.Now, Log: s.deps.Log,
	})
}

func (s *Server) newAuthServer(catalogue toolkit.Catalogue) *authserver.Server {
	return authserver.New(authserver.Options{
		Issuer: s.cfg.Issuer, Resource: s.cfg.Resource, CallbackPath: s.cfg.RedirectPath,
		Table: s.deps.Table, Ring: s.ring, Clients: s.clients, Grants: s.grants, Upstream: s.entra, Challenges: s.challenges,
		Required: s.cfg.RequiredScopes, Optional: s.scopes(catalogue), ScopeWords: catalogue.ScopeWords(),
		Pages: s.pages, Tenant: s.cfg.Entra.TenantID,
		ClientMetadata: s.clients.AcceptsDocuments(), InAzure: s.cfg.InAzure,
		RememberApprovals: s.cfg.RememberConsent && !s.cfg.SharedHost,
		SignIns:           addressLimit(s.cfg.AddressLimits.SignIns),
		Prompt:            s.cfg.Entra.Prompt, DomainHint: s.cfg.Entra.DomainHint,
		Timeout: s.cfg.Timeout + storageShare, Now: s.deps.Now, Log: s.deps.Log,
	})
}

// newAccount makes the page of connected apps. Its sign-ins start and end at the
// authorization server.
func (s *Server) newAccount(words map[string]string) *account.Account {
	const kind = "account"
	page := account.New(account.Options{
		Grants: s.grants, Ring: s.ring, Issuer: s.cfg.Issuer, Pages: s.pages, Tenant: s.cfg.Entra.TenantID,
		SignIn: func(w http.ResponseWriter, r *http.Request) {
			s.as.BeginPageSignIn(w, r, kind, authserver.PageSignInRequest{Back: account.Path})
		},
		FormToken: s.as.FormToken, CheckForm: s.as.CheckForm,
		RememberedApprovals: s.rememberedApprovals, Forget: s.as.ForgetApproval,
		Export: func(ctx context.Context, subject grants.Subject) (any, error) {
			return toolkit.ExportData(ctx, s.deps.Table, subject)
		},
		Erase: func(ctx context.Context, subject grants.Subject) error {
			_, err := toolkit.EraseData(ctx, s.deps.Table, subject)
			return errors.Join(err, authserver.EraseUser(ctx, s.deps.Table, subject))
		},
		VerifyRole: entra.NewCallers(s.entra, entra.CallerPolicy{Audience: CallerPolicy(s.cfg).Audience}).VerifyRole,
		Warnings:   s.warnings, ScopeWords: words, Now: s.deps.Now, Log: s.deps.Log,
	})
	s.as.HandlePageSignIn(kind, func(ctx context.Context, signIn entra.SignIn, _ []byte) (authserver.PageSignInEnd, error) {
		to, cookie, err := page.Finish(ctx, signIn)
		return authserver.PageSignInEnd{To: to, Cookie: cookie}, err
	})
	return page
}

func (s *Server) rememberedApprovals(ctx context.Context, subject grants.Subject) ([]account.RememberedApproval, error) {
	list, err := s.as.RememberedApprovals(ctx, subject)
	out := make([]account.RememberedApproval, 0, len(list))
	for _, a := range list {
		out = append(out, account.RememberedApproval{Key: a.ID, Client: a.ClientName, Target: pages.TargetOf(a.RedirectURI).Where, Since: a.At})
	}
	return out, err
}

// newConnect makes the page on which a user consents to another API, and has its
// sign-ins finish there.
func (s *Server) newConnect(words map[string]string) *connect.Connect {
	const kind = "connect"
	page := connect.New(connect.Options{
		Ring: s.ring, Grant: s.grants.Get, Issuer: s.cfg.Issuer, Pages: s.pages, ScopeWords: words,
		SignIn: func(w http.ResponseWriter, r *http.Request, data []byte, back string, scopes []string) {
			s.as.BeginPageSignIn(w, r, kind, authserver.PageSignInRequest{Data: data, Back: back, Scopes: scopes})
		},
		FormToken: s.as.FormToken, CheckForm: s.as.CheckForm, Refuse: s.as.Refuse,
		Now: s.deps.Now, Log: s.deps.Log,
	})
	s.as.HandlePageSignIn(kind, func(ctx context.Context, signIn entra.SignIn, data []byte) (authserver.PageSignInEnd, error) {
		to, err := page.Finish(ctx, signIn, data)
		return authserver.PageSignInEnd{To: to}, err
	})
	return page
}

func (s *Server) newToolServer(catalogue toolkit.Catalogue) *toolkit.Server {
	o := toolkit.Options{
		Catalogue: catalogue, Grants: s.grants, GraphURL: s.cfg.Entra.GraphURL, HTTPClient: s.deps.HTTPClient,
		Table: s.deps.Table, Sealer: s.ring, Version: version.String(),
		Authentication: "Microsoft Entra ID (tenant " + s.cfg.Entra.TenantID + "), through this server's own OAuth 2.1 authorization server",
		UserCalls:      toolkit.CallLimit(s.cfg.UserCalls), ToolCalls: toolkit.CallLimit(s.cfg.ToolCalls), TenantCalls: toolkit.CallLimit(s.cfg.TenantCalls), Deadline: s.cfg.ToolDeadline,
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

func (s *Server) newGuard(catalogue toolkit.Catalogue) *resource.Guard {
	var verifyEntra func(context.Context, string) (*grants.Access, error)
	if policy := CallerPolicy(s.cfg); !policy.Off() {
		verifyEntra = resource.EntraCallers{
			VerifyToken: entra.NewCallers(s.entra, policy).Verify, Blocked: s.grants.Blocked, Required: s.cfg.RequiredScopes, Known: s.scopes(catalogue),
		}.Verify
	}
	return resource.New(resource.Options{
		Verify: s.grants.Verify, VerifyEntra: verifyEntra, Issuer: s.cfg.Issuer, Resource: s.cfg.Resource, Name: catalogue.About.Title,
		Baseline: s.cfg.RequiredScopes, ScopesFor: s.tools.ScopesFor,
		AllowedOrigins: s.cfg.AllowedOrigins, AllowedHosts: siteHosts(s.cfg), InAzure: s.cfg.InAzure,
		Admit: s.anonymous.Admit, Log: s.deps.Log,
	})
}

// siteHosts are host names other than the issuer's that the platform uses to call.
func siteHosts(cfg config.Config) []string {
	if cfg.SiteHost == "" {
		return nil
	}
	return []string{cfg.SiteHost}
}

// brand is the server's appearance on its pages.
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

func (s *Server) newHome() (*home.Home, error) {
	return home.New(home.Options{
		About: s.tools.About(), Pages: s.pages, Endpoint: s.cfg.Resource, Account: s.accountPath(), Version: version.String(), Tools: s.tools.Open(),
		InAzure: s.cfg.InAzure, RegistryProof: s.cfg.RegistryProof, AppsChallenge: s.cfg.AppsChallenge,
	})
}

func (s *Server) newHealth() *health.Health {
	return health.New(health.Options{
		Checks: map[string]func(context.Context) error{"storage": s.storageReady, "keys": s.ring.Ready, "revocations": s.grants.Ready, "entra": s.entra.Ready},
		Now:    s.deps.Now, Log: s.deps.Log,
	})
}

// storageReady reads a row that never exists, to see whether the table answers.
func (s *Server) storageReady(ctx context.Context) error {
	if _, err := s.deps.Table.Get(ctx, "ready", "ready"); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// kinds are the kinds of rows that expire, by the prefix of their partitions. The table
// of docs/architecture.md says more of each.
func (s *Server) kinds() []sweep.Kind {
	return []sweep.Kind{
		{Name: "transactions", Prefix: authserver.TransactionPrefix},
		{Name: "challenges", Prefix: authserver.ClaimsPrefix},
		{Name: "approvals", Prefix: authserver.ApprovalPrefix},
		{Name: "grants", Prefix: grants.GrantPrefix},
		{Name: "revocations", Prefix: grants.RevocationPrefix, Before: s.grants.CompleteRevocations},
		{Name: "revoked", Prefix: grants.LegacyRevocationPartition, Before: s.grants.CompleteRevocations},
		{Name: "blocks", Prefix: grants.BlockPartition},
		{Name: "clients", Prefix: clients.RegistrationPrefix},
		{Name: "documents", Prefix: clients.DocumentPrefix},
		{Name: "assertions", Prefix: clients.AssertionPrefix},
		{Name: "answers", Prefix: toolkit.AnsweredPrefix},
		{Name: "keys", Prefix: keyring.Partition},
		{Name: "probes", Prefix: store.ProbePartition},
	}
}
