// Package config reads the server's settings from the environment: the Values
// of local.settings.json, the app settings in Azure, or plain variables. It
// reports every mistake at once, each with what to write instead.
package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// Config is the validated configuration. Load makes one.
type Config struct {
	// Port is what to listen on: FUNCTIONS_CUSTOMHANDLER_PORT under the
	// Functions host, else PORT.
	Port          int
	ListenAddress netip.Addr
	// TrustedProxies are those whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix
	// Hosted says that the Functions host is in front (locally or in Azure).
	Hosted bool
	// InAzure says that the platform is Azure: it terminates TLS, answers CORS
	// preflights and appends the client's address to X-Forwarded-For.
	InAzure bool
	// SiteHost is the name that Azure gave the app, WEBSITE_HOSTNAME: requests
	// come under it too where PUBLIC_URL is a custom domain. Empty elsewhere.
	SiteHost string
	// Issuer is PUBLIC_URL without a trailing slash (RFC 8414 §2).
	Issuer string
	// BasePath is the path of PUBLIC_URL, without a trailing slash: a gateway
	// in front serves other things beside it. Mostly it is empty.
	BasePath string
	// SharedHost says that others serve under the host of PUBLIC_URL.
	SharedHost bool
	// Resource is the MCP endpoint's canonical URI (RFC 8707 §2).
	Resource oauth.Resource
	// RedirectPath is where Entra sends the browser back to.
	RedirectPath string
	// RequiredScopes are granted to every client and demanded on every call.
	RequiredScopes oauth.Scopes
	// Timeout bounds every call to Entra.
	Timeout time.Duration

	// IdentityClientID is the user-assigned identity to use for Azure's own
	// services; empty means the system-assigned one.
	IdentityClientID string

	Entra Entra
	Store Store
	Keys  Keys

	AccessTokenLifetime time.Duration
	// RefreshLifetime counts from the last use.
	RefreshLifetime time.Duration
	// RefreshGrace is how long a rotated refresh token may be repeated.
	RefreshGrace time.Duration
	// GrantLifetime ends a grant at this age; 0 is never.
	GrantLifetime time.Duration
	// Recheck is how often Entra is asked again about a user who is active; 0
	// is never.
	Recheck time.Duration
	// RememberConsent shortens the page of a client that was approved before.
	RememberConsent bool

	// SweepInterval is the time between two removals of expired rows.
	SweepInterval time.Duration

	// Redirects decides which redirect URIs clients may have.
	Redirects clients.RedirectPolicy
	// MetadataHosts are the hosts whose client ID metadata documents are
	// fetched, and Pinned the documents that need no fetch.
	MetadataHosts clients.Hosts
	Pinned        clients.Pinned
	// IssuerAudienceOnly refuses client assertions for the token endpoint's
	// address.
	IssuerAudienceOnly bool
	// AllowedOrigins are browser origins that may call the endpoints, in
	// canonical form.
	AllowedOrigins []string

	// UserCalls and ToolCalls limit how often one user may call all tools
	// together, and each of them, on one instance; TenantCalls how often all of
	// one tenant together may.
	UserCalls, ToolCalls, TenantCalls Rate
	// AddressLimits bound what requests from one address may cause.
	AddressLimits AddressLimits
	// ToolDeadline ends calls that take longer, if a tool has no deadline of its
	// own.
	ToolDeadline time.Duration

	LogLevel  slog.Level
	LogFormat LogFormat
	// RegistryProof and AppsChallenge are the texts that registries of servers
	// read at this server's address, or empty.
	RegistryProof, AppsChallenge string
	// AuditObjectIDs writes the object id of users to audit events.
	AuditObjectIDs bool

	// Notices are settings that have no effect and that their author may
	// believe in.
	Notices Problems
}

// Rate is a number of calls in a window of time. The zero value means no limit.
type Rate struct {
	Calls  int
	Window time.Duration
}

// LogFormat is the form of log lines.
type LogFormat string

// The forms of log lines. LogAuto is text on a terminal, else JSON.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Entra is the upstream app registration.
type Entra struct {
	TenantID       string
	AllowedTenants []string
	ClientID       string
	Authority      string
	GraphURL       string
	APIScope       string
	// Prompt and DomainHint are what the sign-in page shows; see ENTRA_PROMPT
	// and ENTRA_DOMAIN_HINT.
	Prompt     string
	DomainHint string

	// Exactly one of the three is set.
	ClientSecret            Secret
	CertificatePath         string
	ManagedIdentityClientID string
	// CertificatePassword opens a protected PFX.
	CertificatePassword Secret
	// SecretExpires is the day on which ClientSecret ends, zero if it is not
	// known.
	SecretExpires time.Time

	// AppRole is the app role with which applications may call, empty if none
	// may.
	AppRole string
	// Clients are the applications whose users' Entra tokens are accepted, in
	// lower case.
	Clients []string
	// ResourceURI says that the MCP endpoint's URL is an Application ID URI.
	ResourceURI bool
}

// Simulated says that the authority is on this computer, which no real Entra
// is.
func (e Entra) Simulated() bool {
	u, err := url.Parse(e.Authority)
	return err == nil && oauth.Loopback(u.Hostname())
}

// Tenants are the IDs of the tenants that may sign in where the endpoint stands for
// many; nil where it stands for one, or where all may.
func (e Entra) Tenants() []string {
	if (e.TenantID != "organizations" && e.TenantID != "common") || slices.Contains(e.AllowedTenants, "*") {
		return nil
	}
	return e.AllowedTenants
}

// Store says where rows are stored: Tables or, if both are empty, DataDir.
type Store struct {
	TablesURL        string
	ConnectionString Secret
	// TableName is the one table of that account which holds everything.
	TableName string
	DataDir   string
}

// Embedded says that rows are stored in a file in DataDir.
func (s Store) Embedded() bool { return s.TablesURL == "" && s.ConnectionString.IsZero() }

// Keys says what wraps the key ring. With neither set, a master key is
// generated into the data directory of the embedded store.
type Keys struct {
	VaultKeyURL string
	MasterKey   Secret
	// Previous unwraps what an earlier MASTER_KEY wrapped.
	Previous Secret
}

// Secret is a setting that never reaches a log.
type Secret struct{ secret.Value }

// AddressLimits are what requests from one address may cause on one instance; the
// zero Rate leaves the default. They count by network prefix for IPv6.
type AddressLimits struct {
	Requests, Registrations, SignIns, Fetches, FailedAssertions Rate
}

// LogValue is the security posture that the start-up line shows.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("issuer", c.Issuer),
		slog.String("resource", string(c.Resource)),
		slog.String("tenant", c.Entra.TenantID),
		slog.Any("allowed_tenants", c.Entra.AllowedTenants),
		slog.String("authority", c.Entra.Authority),
		slog.Bool("simulated_tenant", c.Entra.Simulated()),
		slog.String("client_id", c.Entra.ClientID),
		slog.String("credential", c.Credential()),
		slog.String("store", c.storeKind()),
		slog.String("keys_wrapped_by", c.keysKind()),
		slog.String("required_scopes", c.RequiredScopes.String()),
		slog.String("access_token_lifetime", c.AccessTokenLifetime.String()),
		slog.String("refresh_lifetime", c.RefreshLifetime.String()),
		slog.Any("redirect_uris", c.Redirects),
		slog.Any("client_metadata_hosts", c.MetadataHosts),
		slog.Int("pinned_clients", len(c.Pinned)),
		slog.String("refresh_grace", c.RefreshGrace.String()),
		slog.String("grant_lifetime", c.GrantLifetime.String()),
		slog.String("entra_recheck", c.Recheck.String()),
		slog.Bool("remember_consent", c.RememberConsent),
		slog.String("listen_address", c.ListenAddress.String()),
		slog.Any("trusted_proxies", c.TrustedProxies),
		slog.Bool("shared_host", c.SharedHost),
		slog.Any("allowed_origins", c.AllowedOrigins),
		slog.String("timeout", c.Timeout.String()),
		slog.Bool("hosted", c.Hosted),
		slog.Bool("in_azure", c.InAzure),
	)
}

// Credential names the kind of credential used towards Entra.
func (c Config) Credential() string {
	switch {
	case c.Entra.ManagedIdentityClientID != "":
		return "federated managed identity"
	case c.Entra.CertificatePath != "":
		return "certificate"
	}
	return "client secret"
}

func (c Config) storeKind() string {
	switch {
	case c.Store.TablesURL != "":
		return "Azure Table Storage, managed identity"
	case !c.Store.ConnectionString.IsZero():
		return "Table Storage, connection string"
	}
	return "embedded, " + c.Store.DataDir
}

func (c Config) keysKind() string {
	switch {
	case c.Keys.VaultKeyURL != "":
		return "Key Vault"
	case !c.Keys.MasterKey.IsZero():
		return "MASTER_KEY"
	}
	return "a generated key in " + c.Store.DataDir
}
