package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// Secret is a client secret or the password of a certificate file.
type Secret struct{ secret.Value }

// Config is the app registration and its credential. Package config has checked it.
type Config struct {
	// Tenant is a tenant's GUID or one of its domains, or "organizations",
	// "common" or "consumers".
	Tenant string
	// AllowedTenants are the tenant GUIDs whose users may sign in. Empty means
	// the one tenant that Tenant names. With "organizations" and "common" it
	// must be set; "*" admits every tenant.
	AllowedTenants []string
	// ClientID is the application (client) ID, a GUID.
	ClientID string

	// Exactly one of the three credentials is set.
	Secret                  Secret
	CertificatePath         string // PEM with an RSA key, or PFX
	ManagedIdentityClientID string // user-assigned identity, federated with the app

	// SecretExpires is when Secret expires, as the operator has set it; zero if
	// unknown. The log warns of it.
	SecretExpires time.Time
	// CertificatePassword opens a PFX file.
	CertificatePassword Secret

	// APIScope is a scope of our own API ("api://…/mcp.access") that is asked for at
	// sign-in. On-behalf-of requests need it: the token for it is their assertion.
	APIScope string
	// Authority is the sign-in host; empty means that of the public cloud.
	Authority string
	// RedirectURI is the callback as it is registered under the platform "Web".
	RedirectURI string
	// Timeout bounds every call to Entra; zero means 8 s.
	Timeout time.Duration
	// MaxRetryAfter is the longest Retry-After of Entra's that is passed on to
	// clients: after waiting for it, their old refresh token must still be accepted.
	// Zero means 30 s.
	MaxRetryAfter time.Duration
}

// Deps are what the client needs from outside. All fields may be zero.
type Deps struct {
	HTTPClient *http.Client
	Now        func() time.Time
	Log        *slog.Logger
	// TenantAdmitted reports whether the operator has admitted a tenant, by its GUID
	// in lower case, beside those of Config.AllowedTenants. It is used if
	// Config.Tenant stands for many tenants, and may be nil. An error means that it
	// is not known.
	TenantAdmitted func(ctx context.Context, tid string) (bool, error)
}

const (
	defaultTimeout       = 8 * time.Second
	defaultMaxRetryAfter = 30 * time.Second
)

// The tenant names that stand for more than one directory, or for the
// directory of personal accounts.
const (
	organizations = "organizations"
	common        = "common"
	consumers     = "consumers"

	// consumersTenantID is the tid of every personal Microsoft account.
	// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
	consumersTenantID = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// normalized returns c in canonical form, with defaults filled in.
func (c Config) normalized() Config {
	c.Tenant, c.ClientID = strings.ToLower(c.Tenant), strings.ToLower(c.ClientID)
	allowed := make([]string, len(c.AllowedTenants))
	for i, t := range c.AllowedTenants {
		allowed[i] = strings.ToLower(t)
	}
	c.AllowedTenants = allowed
	c.Authority = cmp.Or(c.Authority, publicCloud.Authority)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.MaxRetryAfter = cmp.Or(c.MaxRetryAfter, defaultMaxRetryAfter)
	return c
}

// Cloud is one of Microsoft's clouds, or a simulated tenant in the place of one.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
type Cloud struct {
	// Authority is the sign-in host as an origin: scheme, host and a port that
	// is not the scheme's own.
	Authority string
	// GraphURL is the origin of Microsoft Graph.
	GraphURL string
	// ExchangeAudience is the audience of a managed identity's token that Entra
	// accepts as a client assertion.
	// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
	ExchangeAudience string
}

var (
	publicCloud = Cloud{"https://login.microsoftonline.com", "https://graph.microsoft.com", "api://AzureADTokenExchange"}
	usGovCloud  = Cloud{"https://login.microsoftonline.us", "https://graph.microsoft.us", "api://AzureADTokenExchangeUSGov"}
	chinaCloud  = Cloud{"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn", "api://AzureADTokenExchangeChina"}

	// clouds are those of the sign-in hosts, the older names included.
	clouds = map[string]Cloud{
		"login.microsoftonline.com":        publicCloud,
		"login.windows.net":                publicCloud,
		"login.microsoft.com":              publicCloud,
		"login.microsoftonline.us":         usGovCloud,
		"login.partner.microsoftonline.cn": chinaCloud,
		"login.chinacloudapi.cn":           chinaCloud,
	}
)

// ParseAuthority reads the sign-in host: an https origin, or an http one on
// this computer. An authority that is not a cloud's own, such as
// https://contoso.ciamlogin.com or a custom domain of an external tenant,
// belongs to the public cloud; one on this computer serves Graph itself.
func ParseAuthority(text string) (Cloud, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Cloud{}, errors.New("it is not a URL")
	case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") || strings.Trim(u.Path, "/") != "":
		return Cloud{}, errors.New("it is not an origin")
	case u.Scheme != "https" && (u.Scheme != "http" || !oauth.Loopback(u.Hostname())):
		return Cloud{}, errors.New("it is not https; http is for this computer only")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := u.Port()
	if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = ""
	}
	if cloud, ok := clouds[host]; ok && port == "" {
		return cloud, nil
	}
	origin := u.Scheme + "://" + host
	if strings.Contains(host, ":") {
		origin = u.Scheme + "://[" + host + "]"
	}
	if port != "" {
		origin += ":" + port
	}
	cloud := publicCloud
	cloud.Authority = origin
	if oauth.Loopback(host) {
		cloud.GraphURL = origin
	}
	return cloud, nil
}

// cloud is the cloud of the configured authority, which has been checked.
func (c Config) cloud() (Cloud, error) {
	cloud, err := ParseAuthority(c.Authority)
	if err != nil {
		return Cloud{}, fmt.Errorf("ENTRA_AUTHORITY: %w", err)
	}
	return cloud, nil
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func isGUID(s string) bool { return guid.MatchString(s) }
