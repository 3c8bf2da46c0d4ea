package tenant

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The app registration that a local run uses unless it registers its own.
const (
	DefaultClientID = "3c9a52a1-0000-4000-8000-00000000c11e"
	DefaultScope    = "mcp.access"
)

// The app roles that a local run's registration has for applications.
const (
	InvokeRole = "Mcp.Invoke"
	ManageRole = "Mcp.Connections.Manage"
)

// Audience says which accounts may use an app; the values are those of the
// manifest's signInAudience.
type Audience string

// The audiences an app may have. The zero value is SingleTenant.
const (
	SingleTenant Audience = "AzureADMyOrg"
	MultiTenant  Audience = "AzureADMultipleOrgs"
	AnyAccount   Audience = "AzureADandPersonalMicrosoftAccount"
)

// Secret is a client secret. It never prints.
type Secret struct {
	Value   string
	Expires time.Time // zero: never
}

// String keeps the value out of logs and test output.
func (Secret) String() string { return "[redacted]" }

// GoString does the same for %#v.
func (Secret) GoString() string { return "[redacted]" }

// FederatedCredential lets a token of another issuer stand in for a secret.
type FederatedCredential struct {
	Issuer, Subject, Audience string
}

// App is an app registration together with its enterprise application.
type App struct {
	ClientID     string
	Name         string
	Secrets      []Secret
	Certificates []*x509.Certificate
	Federated    []FederatedCredential
	RedirectURIs []string // platform "web"
	AppIDURI     string   // api://…; empty: api://<ClientID>
	// IdentifierURIs are further Application ID URIs, such as an MCP
	// endpoint's URL. The parameter resource matches them and AppIDURI.
	IdentifierURIs []string
	// Principal is the object id of the service principal; empty: derived.
	Principal string
	Scopes    []string // delegated permissions the app exposes
	AppRoles  []string // for users
	// ApplicationRoles are the app roles that applications can hold; see
	// Tenant.AssignRole.
	ApplicationRoles []string
	// WithoutIDType: the optional claim idtyp is not configured, so that
	// access tokens for the app do not say who they are for.
	WithoutIDType bool
	// TokenVersion is requestedAccessTokenVersion: 2, or 1 (also for 0, as null
	// means 1 in the manifest).
	TokenVersion       int
	SignInAudience     Audience
	AssignmentRequired bool
	// AdminConsented: an administrator agreed for everyone, nobody is asked.
	AdminConsented bool
	// AdminOnly lists scopes, in full form, that only an administrator can
	// consent to (AADSTS90094).
	AdminOnly []string
	// ConsentWorkflow: users may ask for approval, so AADSTS90095 stands in for
	// AADSTS90094.
	ConsentWorkflow bool
	// GroupsClaim: the manifest's groupMembershipClaims is set.
	GroupsClaim bool
}

// DefaultApp is the registration a local run needs: one that calls itself by
// its GUID, whose users must be assigned, with two roles.
func DefaultApp(secret string, redirectURIs ...string) App {
	return App{
		ClientID: DefaultClientID, Name: "MCP server", Secrets: []Secret{{Value: secret}}, RedirectURIs: redirectURIs,
		Scopes: []string{DefaultScope}, AppRoles: []string{"Mcp.Admin", "Mcp.Reader", ManageRole},
		ApplicationRoles: []string{InvokeRole, ManageRole}, TokenVersion: 2, AssignmentRequired: true,
	}
}

// Register adds or replaces an app registration. It refuses what the portal
// refuses.
func (t *Tenant) Register(app App) error {
	if len(app.ClientID) != 36 {
		return fmt.Errorf("simulated tenant: client id %q is not a GUID", app.ClientID)
	}
	for _, uri := range app.RedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			return fmt.Errorf("simulated tenant: redirect URI %q: %w", uri, err)
		}
	}
	if app.AppIDURI == "" {
		app.AppIDURI = "api://" + app.ClientID
	}
	for _, uri := range app.IdentifierURIs {
		if strings.HasSuffix(uri, "/") || !strings.Contains(uri, "://") || (strings.HasPrefix(uri, "http") && app.TokenVersion != 2) {
			return fmt.Errorf("simulated tenant: identifier URI %q: no slash at the end, and a web address takes version 2 tokens", uri)
		}
	}
	if app.Name == "" {
		app.Name = "MCP server"
	}
	if app.Principal == "" {
		app.Principal = derivedID("service principal", app.ClientID)
	}
	if app.SignInAudience == "" {
		app.SignInAudience = SingleTenant
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apps[strings.ToLower(app.ClientID)] = &app
	return nil
}

// names reports whether identifier is one of the app's names: the client id, or
// an Application ID URI, character for character but for case.
func (a *App) names(identifier string) bool {
	return strings.EqualFold(identifier, a.ClientID) || a.hasURI(identifier)
}

func (a *App) hasURI(identifier string) bool {
	return strings.EqualFold(identifier, a.AppIDURI) || slices.ContainsFunc(a.IdentifierURIs, func(uri string) bool { return strings.EqualFold(uri, identifier) })
}

// AssignRole gives an application role of an app to a principal: the object id
// of another app's service principal or of a managed identity.
func (t *Tenant) AssignRole(principal, clientID, role string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	app := t.app(clientID)
	if app == nil || !slices.Contains(app.ApplicationRoles, role) {
		return fmt.Errorf("simulated tenant: application %s has no role %s for applications", clientID, role)
	}
	key := strings.ToLower(principal + " " + app.ClientID)
	t.assigned[key] = appendNew(t.assigned[key], role)
	return nil
}

// derivedID is a GUID that depends on its parts only.
func derivedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, " ")))
	return guidOf(sum[:16])
}

// checkRedirectURI holds what entra-docs: reply-url says of web URIs: https,
// or http on a loopback host; no wildcard, no fragment, at most 256 characters.
func checkRedirectURI(uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return err
	}
	switch {
	case len(uri) > 256:
		return errors.New("longer than 256 characters")
	case u.Host == "" || u.Fragment != "" || strings.Contains(uri, "*"):
		return errors.New("not an absolute URL without fragment and wildcard")
	case u.Scheme == "http" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1":
		return errors.New("http is for loopback only")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("neither http nor https")
	}
	return nil
}

// allows matches exactly, path case included, except that for http://localhost
// the port does not count (entra-docs: reply-url, "Localhost exceptions").
func (a *App) allows(redirectURI string) bool {
	for _, registered := range a.RedirectURIs {
		if registered == redirectURI || withoutLocalPort(registered) == withoutLocalPort(redirectURI) {
			return true
		}
	}
	return false
}

func withoutLocalPort(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" || u.User != nil {
		return uri
	}
	u.Host = "localhost"
	return u.String()
}

// admits reports whether accounts of the tenant may use the app at all.
func (a *App) admits(tenant string) bool {
	switch a.SignInAudience {
	case AnyAccount:
		return true
	case MultiTenant:
		return tenant != Consumers
	}
	return tenant == Contoso
}

// app finds a registration by client id; the caller holds mu.
func (t *Tenant) app(clientID string) *App { return t.apps[strings.ToLower(clientID)] }
