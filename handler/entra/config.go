package entra

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entramcp/handler/oauth"
)

// Secret is a client secret or the password of a certificate file. It prints
// and logs as a placeholder.
type Secret string

const redacted = "[redacted]"

// String hides the secret from fmt.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from encoders, as in a struct that is logged.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Config names the app registration and says how this server proves to be it.
type Config struct {
	// Tenant is a tenant's GUID or one of its domains, or "organizations",
	// "common" or "consumers".
	Tenant string
	// AllowedTenants are the tenant GUIDs whose users may sign in. Empty means
	// the one tenant that Tenant names. With "organizations" and "common" it
	// must be set; "*" admits every tenant.
	AllowedTenants []string
	// ClientID is the application (client) id, a GUID.
	ClientID string

	// Exactly one of the three credentials is set.
	Secret                  Secret
	CertificatePath         string // PEM with an RSA key, or PFX
	ManagedIdentityClientID string // user-assigned identity, federated with the app

	// CertificatePassword opens a PFX file.
	CertificatePassword Secret

	// APIScope is the scope of an API of our own ("api://…/mcp.access") that is
	// asked for at sign-in. On-behalf-of needs it: the token for it is the
	// assertion.
	APIScope string
	// Authority is the cloud's sign-in host; empty means PublicCloud.
	Authority string
	// RedirectURI is the callback as it is registered under the platform "Web".
	RedirectURI string
	// Timeout bounds every call to Entra; zero means 8 s.
	Timeout time.Duration
}

// Deps are what the client uses of the outside world. Every field may be left
// zero.
type Deps struct {
	HTTPClient *http.Client
	Now        func() time.Time
	Rand       io.Reader
	Log        *slog.Logger
}

const defaultTimeout = 8 * time.Second

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

// checked returns c with defaults filled in, or all that is wrong with it.
func (c Config) checked() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	c.Authority = strings.TrimSuffix(c.Authority, "/")
	if c.Authority == "" {
		c.Authority = PublicCloud
	}
	if u, err := url.Parse(c.Authority); err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !secure(u) {
		fault("ENTRA_AUTHORITY must be an https origin such as %s (http is for loopback only)", PublicCloud)
	}
	c.Tenant = strings.ToLower(strings.TrimSpace(c.Tenant))
	if !isGUID(c.Tenant) && !isDomain(c.Tenant) && !slices.Contains([]string{organizations, common, consumers}, c.Tenant) {
		fault("ENTRA_TENANT_ID must be the directory (tenant) id, a domain of the tenant, or one of organizations, common, consumers")
	}
	c.ClientID = strings.ToLower(strings.TrimSpace(c.ClientID))
	if !isGUID(c.ClientID) {
		fault("ENTRA_CLIENT_ID must be the application (client) id of the app registration, a GUID")
	}
	if n := count(c.Secret != "", c.CertificatePath != "", c.ManagedIdentityClientID != ""); n != 1 {
		fault("set exactly one of ENTRA_CLIENT_SECRET, ENTRA_CLIENT_CERTIFICATE_PATH and ENTRA_MANAGED_IDENTITY_CLIENT_ID (%d are set)", n)
	}
	if len(strings.Fields(c.APIScope)) > 1 || (c.APIScope != "" && !strings.Contains(c.APIScope, "/")) {
		fault("ENTRA_API_SCOPE must be one scope in full, such as %s/mcp.access", c.ClientID)
	}
	if u, err := url.Parse(c.RedirectURI); err != nil || u.Host == "" || u.Fragment != "" || !secure(u) {
		fault("the redirect URI must be an absolute https URL (http is for loopback only)")
	}

	c.AllowedTenants = slices.Clone(c.AllowedTenants)
	for i, t := range c.AllowedTenants {
		t = strings.ToLower(strings.TrimSpace(t))
		c.AllowedTenants[i] = t
		if t != "*" && t != c.Tenant && !isGUID(t) {
			fault("ENTRA_ALLOWED_TENANTS holds %q: write directory (tenant) ids, or * for every tenant", t)
		}
	}
	if len(c.AllowedTenants) == 0 && (c.Tenant == organizations || c.Tenant == common) {
		fault("ENTRA_ALLOWED_TENANTS must list the tenants that may sign in when ENTRA_TENANT_ID is %q; * admits every tenant", c.Tenant)
	}

	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return c, errors.Join(faults...)
}

// secure reports whether secrets may travel to u.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || (u.Scheme == "http" && oauth.Loopback(u.Hostname()))
}

func count(set ...bool) (n int) {
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

func isDomain(s string) bool {
	return strings.Contains(s, ".") && !strings.ContainsAny(s, "/:?#@ ") && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".")
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'):
			return false
		}
	}
	return true
}
