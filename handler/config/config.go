// Package config reads the server's settings from the environment: the Values
// of local.settings.json, the app settings in Azure, or plain variables. It
// reports every mistake at once, each with what to write instead.
package config

import (
	"log/slog"
	"net/url"
	"time"

	"entramcp/handler/oauth"
)

// Config is the validated configuration. Load makes one.
type Config struct {
	// Port is what to listen on, on loopback: FUNCTIONS_CUSTOMHANDLER_PORT
	// under the Functions host, else PORT.
	Port int
	// Hosted says that the Functions host is in front (locally or in Azure).
	Hosted bool
	// InAzure says that the platform is Azure: it terminates TLS, answers CORS
	// preflights and appends the client's address to X-Forwarded-For.
	InAzure bool
	// SiteHost is the name that Azure gave the app, WEBSITE_HOSTNAME: requests
	// come under it too where PUBLIC_URL is a custom domain. Empty elsewhere.
	SiteHost string
	// Issuer is the origin of PUBLIC_URL without a trailing slash (RFC 8414 §2).
	Issuer string
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

	// AccessTokenLifetime and RefreshLifetime: the latter counts from the
	// last use.
	AccessTokenLifetime time.Duration
	RefreshLifetime     time.Duration

	// SweepInterval is the time between two removals of expired rows.
	SweepInterval time.Duration

	// AllowedRedirectURIs restricts redirect URIs to these exact URIs or
	// https://host/path/* prefixes; empty allows what the policy allows.
	AllowedRedirectURIs []string
	// ClientMetadataHosts are the hosts whose client ID metadata documents
	// are fetched: "*" any, "none" switches the feature off.
	ClientMetadataHosts []string
	// PinnedClients are client ID metadata documents that need no fetch: a
	// JSON array, or the path of a file with one.
	PinnedClients string
	// AllowedOrigins are browser origins that may call the endpoints.
	AllowedOrigins []string

	LogLevel slog.Level
}

// Entra is the upstream app registration.
type Entra struct {
	TenantID       string
	AllowedTenants []string
	ClientID       string
	Authority      string
	GraphURL       string
	APIScope       string

	// Exactly one of the three is set.
	ClientSecret            Secret
	CertificatePath         string
	ManagedIdentityClientID string
	// CertificatePassword opens a protected PFX.
	CertificatePassword Secret
}

// Simulated says that the authority is on this computer, which no real Entra
// is.
func (e Entra) Simulated() bool {
	u, err := url.Parse(e.Authority)
	return err == nil && oauth.Loopback(u.Hostname())
}

// Store says where records live: Tables or, if both are empty, DataDir.
type Store struct {
	TablesURL        string
	ConnectionString Secret
	// TableName is the one table of that account which holds everything.
	TableName string
	DataDir   string
}

// Embedded says that records live in a file in DataDir.
func (s Store) Embedded() bool { return s.TablesURL == "" && s.ConnectionString == "" }

// Keys says what wraps the key ring. With neither set, a master key is
// generated into the data directory of the embedded store.
type Keys struct {
	VaultKeyURL string
	MasterKey   Secret
	// Previous unwraps what an earlier MASTER_KEY wrapped.
	Previous Secret
}

// Secret is a value that never reaches a log.
type Secret string

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders, as in a struct that is logged.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// String hides the secret from fmt.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[set]"
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
		slog.Any("allowed_redirect_uris", c.AllowedRedirectURIs),
		slog.Any("client_metadata_hosts", c.ClientMetadataHosts),
		slog.Bool("pinned_clients", c.PinnedClients != ""),
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
	case c.Store.ConnectionString != "":
		return "Table Storage, connection string"
	}
	return "embedded, " + c.Store.DataDir
}

func (c Config) keysKind() string {
	switch {
	case c.Keys.VaultKeyURL != "":
		return "Key Vault"
	case c.Keys.MasterKey != "":
		return "MASTER_KEY"
	}
	return "a generated key in " + c.Store.DataDir
}
