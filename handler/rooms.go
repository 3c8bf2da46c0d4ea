package handler

import (
	"context"

	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/tools"
)

func (s *Server) newRegistry() (*clients.Registry, error) {
	policy, err := clients.NewRedirectPolicy(s.cfg.AllowedRedirectURIs...)
	if err != nil {
		return nil, err
	}
	hosts, err := clients.ParseHosts(s.cfg.ClientMetadataHosts...)
	if err != nil {
		return nil, err
	}
	pinned, err := clients.ParsePinned(s.cfg.PinnedClients)
	if err != nil {
		return nil, err
	}
	return clients.New(clients.Options{
		Table: s.deps.Table, Policy: policy,
		Metadata: clients.Metadata{Hosts: hosts, Pinned: pinned},
		Issuer:   s.cfg.Issuer, TokenEndpoint: s.cfg.Issuer + "/token",
		Now: s.deps.Now, Rand: s.deps.Rand, Log: s.deps.Log,
	})
}

// EntraConfig is what cfg says of Entra, as entra.New takes it.
func EntraConfig(cfg config.Config) entra.Config {
	e := cfg.Entra
	return entra.Config{
		Tenant: e.TenantID, AllowedTenants: e.AllowedTenants, ClientID: e.ClientID,
		Secret: entra.Secret(e.ClientSecret), CertificatePath: e.CertificatePath,
		CertificatePassword: entra.Secret(e.CertificatePassword), ManagedIdentityClientID: e.ManagedIdentityClientID,
		APIScope: e.APIScope, Authority: e.Authority,
		RedirectURI: cfg.Issuer + cfg.RedirectPath, Timeout: cfg.Timeout,
	}
}

func (s *Server) newTools() *tools.Server {
	o := tools.Options{
		Grants: grantReader{s}, GraphURL: s.cfg.Entra.GraphURL, HTTPClient: s.deps.HTTPClient,
		Version:        Version(),
		Authentication: "Microsoft Entra ID (tenant " + s.cfg.Entra.TenantID + "), through this server's own OAuth 2.1 authorization server",
		Tools:          s.deps.Tools, Configure: s.deps.Configure, Now: s.deps.Now, Log: s.deps.Log,
	}
	if s.cfg.Entra.APIScope != "" {
		s.onBehalfOf = &onBehalfOf{exchange: entra.NewOnBehalfOf(s.entra), log: s.deps.Log}
		o.Graph = s.onBehalfOf
	}
	server := tools.New(o)
	if s.deps.Extend != nil {
		s.deps.Extend(server.MCP())
	}
	return server
}

// grantReader defers to the grants, which are made after the tools because
// they need to know the tools' scopes.
type grantReader struct{ server *Server }

func (r grantReader) Get(ctx context.Context, subject grants.Subject, grantID string) (grants.Grant, error) {
	return r.server.grants.Get(ctx, subject, grantID)
}
