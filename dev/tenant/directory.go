package tenant

import (
	"slices"
	"strings"
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
	Groups   int    // how many groups the account is a member of
	Note     string // one line on the sign-in page

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

func defaultUsers() []*User {
	user := func(n, username, name, note string) *User {
		return &User{
			ObjectID: "00000000-0000-4000-8000-0000000000" + n,
			Username: username, Name: name, Email: username, Home: Contoso, Note: note,
		}
	}
	alice := user("a1", Alice, "Alice Ames", "Administrator, role Mcp.Admin")
	alice.Roles, alice.Admin = []string{"Mcp.Admin", "Mcp.Reader"}, true
	bob := user("b2", Bob, "Bob Berg", "Member without roles")
	carol := user("c3", Carol, "Carol Cruz", "Guest from Fabrikam, role Mcp.Reader")
	carol.Roles, carol.Home, carol.GuestIn = []string{"Mcp.Reader"}, Fabrikam, Contoso
	dave := user("d4", Dave, "Dave Dunn", "Account is disabled")
	dave.Disabled = true
	erin := user("e5", Erin, "Erin Eich", "Not assigned to the application")
	erin.Unassigned = true
	frank := user("f6", Frank, "Frank Faro", "Must use a second factor")
	frank.MFA = true
	grace := user("67", Grace, "Grace Gold", "Member of another tenant, Fabrikam")
	grace.Home = Fabrikam
	heidi := user("88", Heidi, "Heidi Hahn", "Member of 300 groups")
	heidi.Groups = 300
	ivan := user("19", Ivan, "Ivan Ilves", "Personal account")
	ivan.Home, ivan.Email = Consumers, ""
	return []*User{alice, bob, carol, dave, erin, frank, grace, heidi, ivan}
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
	return t.base + "/" + tenant + "/v2.0"
}
