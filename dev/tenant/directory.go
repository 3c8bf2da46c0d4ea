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

// The tenants of the simulation. Contoso owns the app registrations; Fabrikam
// is somebody else's; Consumers has the GUID that Entra gives to personal
// Microsoft accounts (entra-docs: access-token-claims-reference).
const (
	Contoso   = "c0a7050c-0000-4000-8000-000000000001"
	Fabrikam  = "fab71ca0-0000-4000-8000-000000000002"
	Consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"
)

// The usernames of the default directory.
const (
	Alice = "alice@contoso.example"
	Bob   = "bob@contoso.example"
	Carol = "carol@fabrikam.example"
	Dave  = "dave@contoso.example"
	Erin  = "erin@contoso.example"
	Frank = "frank@contoso.example"
	Grace = "grace@fabrikam.example"
	Heidi = "heidi@contoso.example"
	Ivan  = "ivan@outlook.example"
)

// User is an account. Fields may be changed through Tenant.Change.
type User struct {
	ObjectID string
	Username string // UPN, the preferred_username
	Name     string
	Email    string // empty: no email claim
	Home     string // tenant id the account belongs to
	GuestIn  string // tenant id the account is invited to, with ObjectID there
	Roles    []string
	Groups   int // how many groups the account is a member of
	JobTitle string
	Manager  string // object id
	// Note says on the sign-in page whom the account is for, Outcome what will
	// happen.
	Note, Outcome string

	Admin      bool // may consent for the organization
	Disabled   bool // AADSTS50057
	Unassigned bool // AADSTS50105 where the app requires assignment
	MFA        bool // a second factor is asked for
	// NoSecondFactor: none is enrolled, so where MFA is wanted AADSTS50079
	// stands in for AADSTS50076.
	NoSecondFactor bool
	Blocked        bool // by conditional access, AADSTS53003
	// BlockedFromServers: conditional access admits the browser's address and
	// blocks those of the servers that redeem and renew.
	BlockedFromServers bool
	Challenge          string // claims JSON that a sign-in must carry to satisfy conditional access

	// revocations counts "revoke sessions"; what was issued before is dead.
	revocations int
}

// What happens to a sign-in, as the sign-in page groups accounts.
const (
	outcomeSignsIn = "Signs in"
	outcomeStep    = "Signs in after one more step"
	outcomeRefused = "Is refused, to see what people are told"
)

func defaultUsers() []*User {
	user := func(n, username, name, title, note string) *User {
		return &User{
			ObjectID: "00000000-0000-4000-8000-0000000000" + n, JobTitle: title,
			Username: username, Name: name, Email: username, Home: Contoso, Note: note, Outcome: outcomeSignsIn,
		}
	}
	alice := user("a1", Alice, "Alice Ames", "Head of IT", "Administrator with the roles Mcp.Admin, Mcp.Reader and Mcp.Connections.Manage: may use every tool")
	alice.Roles, alice.Admin = []string{"Mcp.Admin", "Mcp.Reader", ManageRole}, true
	bob := user("b2", Bob, "Bob Berg", "Accountant", "Ordinary member without roles: start with him")
	bob.Manager = alice.ObjectID
	carol := user("c3", Carol, "Carol Cruz", "Consultant", "Guest from Fabrikam with the role Mcp.Reader")
	carol.Roles, carol.Home, carol.GuestIn = []string{"Mcp.Reader"}, Fabrikam, Contoso
	dave := user("d4", Dave, "Dave Dunn", "Former employee", "His account is disabled: AADSTS50057")
	dave.Disabled, dave.Outcome = true, outcomeRefused
	erin := user("e5", Erin, "Erin Eich", "Trainee", "Nobody has assigned her to the application: AADSTS50105")
	erin.Unassigned, erin.Outcome = true, outcomeRefused
	frank := user("f6", Frank, "Frank Faro", "Auditor", "Must confirm a second factor")
	frank.MFA, frank.Outcome, frank.Manager = true, outcomeStep, alice.ObjectID
	grace := user("67", Grace, "Grace Gold", "Engineer", "Belongs to another organization, Fabrikam: AADSTS50020")
	grace.Home, grace.Outcome = Fabrikam, outcomeRefused
	heidi := user("88", Heidi, "Heidi Hahn", "Analyst", "In more groups than a token can list")
	heidi.Groups, heidi.Manager = 300, bob.ObjectID
	ivan := user("19", Ivan, "Ivan Ilves", "", "Has a personal account: AADSTS50020")
	ivan.Home, ivan.Email, ivan.Outcome = Consumers, "", outcomeRefused
	return []*User{bob, alice, carol, heidi, frank, erin, dave, grace, ivan}
}

// user finds an account by username, in any case; the caller holds mu.
func (t *Tenant) user(username string) *User {
	for _, u := range t.users {
		if strings.EqualFold(u.Username, strings.TrimSpace(username)) {
			return u
		}
	}
	return nil
}

func (t *Tenant) userByID(objectID string) *User {
	for _, u := range t.users {
		if u.ObjectID == objectID {
			return u
		}
	}
	return nil
}

// rolesOn are the roles that app declares and the user was given.
func (u *User) rolesOn(app *App) []string {
	var held []string
	for _, role := range app.AppRoles {
		if slices.Contains(u.Roles, role) {
			held = append(held, role)
		}
	}
	return held
}

// realm is what the first segment of a path stands for: one tenant, or an
// alias that lets the user's account decide (entra-docs: v2-protocols).
type realm struct {
	name   string // canonical: GUID, organizations or common
	tenant string // GUID; empty for the aliases
}

func (t *Tenant) realm(segment string) (realm, bool) {
	at, ok := realmOf(segment)
	return at, ok && (!t.external || at.tenant == Contoso)
}

func realmOf(segment string) (realm, bool) {
	switch strings.ToLower(segment) {
	case Contoso, "contoso.example":
		return realm{Contoso, Contoso}, true
	case Fabrikam, "fabrikam.example":
		return realm{Fabrikam, Fabrikam}, true
	case Consumers, "consumers":
		return realm{Consumers, Consumers}, true
	case "organizations", "common":
		return realm{name: strings.ToLower(segment)}, true
	}
	return realm{}, false
}

// issuer is the v2.0 issuer, or its template for the aliases.
func (t *Tenant) issuer(tenant string) string {
	if tenant == "" {
		tenant = "{tenantid}"
	}
	if t.external {
		// field: oauth2-proxy#3476, microsoft-authentication-library-for-js#8592
		return "https://" + tenant + ".ciamlogin.com/" + tenant + "/v2.0"
	}
	return t.base + "/" + tenant + "/v2.0"
}

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
		app.Principal = DerivedID("service principal", app.ClientID)
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

// DerivedID is a GUID that depends on its parts only.
func DerivedID(parts ...string) string {
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
