package handler_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/grants"
	"entramcp/handler/operator"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/toolkit"
)

// tenantsWorld serves two tenants, of which the setting names one; an operator works
// on its table.
type tenantsWorld struct {
	*entraWorld
	*operator.Operator
}

func newTenantsWorld(t *testing.T) *tenantsWorld {
	w := newEntraWorld(t, map[string]string{
		"ENTRA_TENANT_ID": "organizations", "ENTRA_ALLOWED_TENANTS": tenant.Contoso, "ENTRA_APP_CALLERS": "roles", "REFRESH_GRACE": "1s",
	})
	app := tenant.DefaultApp("s3cret-value", mcpIssuer+"/auth/callback")
	app.AssignmentRequired, app.AdminConsented, app.SignInAudience = false, true, tenant.MultiTenant
	if err := w.Register(app); err != nil {
		t.Fatal(err)
	}
	return &tenantsWorld{w, w.operator()}
}

// everywhere is when every instance has heard of what an operator did.
func (w *tenantsWorld) everywhere() { w.clock.Advance(grants.MaxStale + time.Second) }

// robotOf is a token of Entra's own for an application of a tenant.
func (w *tenantsWorld) robotOf(tid string) string {
	return w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}, Edit: func(c map[string]any) {
		c["tid"], c["iss"] = tid, w.authority+"/"+tid+"/v2.0"
	}})
}

func (w *tenantsWorld) want(to http.Handler, token string, want int, when string) {
	w.t.Helper()
	if got, body := w.callAt(to, token, "caller"); got != want {
		w.t.Errorf("%s: %d, want %d: %s", when, got, want, body)
	}
}

// What app tenants does reaches sign-in, refresh and calls of both kinds on every
// instance, without a restart.
func TestATenantIsAllowedAndDeniedOnEveryInstance(t *testing.T) {
	w := newTenantsWorld(t)
	one, other := w.server, w.another()
	refused := func(to http.Handler, when string) {
		t.Helper()
		if _, end := w.authorize(to, tenant.Grace); end.Code != http.StatusForbidden || strings.Contains(end.Body.String(), "code=") {
			t.Errorf("%s: a sign-in is answered with %d %s", when, end.Code, end.Header().Get("Location"))
		}
	}
	robot := w.robotOf(tenant.Fabrikam)
	alice := w.connect(one, tenant.Alice)
	refused(other, "named nowhere")
	w.want(other, robot, http.StatusUnauthorized, "named nowhere, by itself")

	if err := w.AllowTenant(t.Context(), tenant.Fabrikam, "contract 12"); err != nil {
		t.Fatal(err)
	}
	w.everywhere()
	grace, idle := w.connect(other, tenant.Grace), w.connect(other, tenant.Grace)
	for _, to := range []http.Handler{one, other} {
		w.want(to, grace.access, http.StatusOK, "allowed")
		w.want(to, robot, http.StatusOK, "allowed, by itself")
	}
	w.clock.Advance(5 * time.Second) // the first refresh is a rotation
	if got := grace.renew(one); got != http.StatusOK {
		t.Errorf("allowed, a refresh: %d", got)
	}

	if err := w.DenyTenant(t.Context(), tenant.Fabrikam, "left"); err != nil {
		t.Fatal(err)
	}
	w.everywhere()
	for _, to := range []http.Handler{one, other, w.another()} {
		w.want(to, grace.access, http.StatusUnauthorized, "denied")
		w.want(to, robot, http.StatusUnauthorized, "denied, by itself")
		w.want(to, alice.access, http.StatusOK, "of another tenant")
		refused(to, "denied")
	}
	if got := grace.renew(one); got != http.StatusBadRequest {
		t.Errorf("denied, a refresh: %d", got)
	}

	// Removing the denial by its other name does not bring the admission back.
	if err := w.Unblock(t.Context(), grants.BlockTenant, tenant.Fabrikam); err != nil {
		t.Fatal(err)
	}
	w.everywhere()
	w.want(one, idle.access, http.StatusUnauthorized, "named nowhere again, with a token from before")
	w.want(one, robot, http.StatusUnauthorized, "named nowhere again, by itself")
	refused(one, "named nowhere again")
	if got := idle.renew(other); got != http.StatusBadRequest {
		t.Errorf("named nowhere again, a refresh: %d", got)
	}
}

// Not knowing whom the table admits is no verdict, and lets nobody in.
func TestTenantsAreNoVerdictWhileStorageIsAway(t *testing.T) {
	w := newTenantsWorld(t)
	if err := w.AllowTenant(t.Context(), tenant.Fabrikam, ""); err != nil {
		t.Fatal(err)
	}
	robot := w.robotOf(tenant.Fabrikam)
	w.want(w.server, robot, http.StatusOK, "allowed")
	w.table.Before(storetest.Fail(errors.New("storage is away"), storetest.List))
	w.want(w.another(), robot, http.StatusServiceUnavailable, "while storage is away")
}

// A tenant that has left leaves nothing: neither what its users connected, nor what
// tools keep for them, nor what is kept of users whose grants have ended long ago.
func TestEverythingOfATenantThatLeavesIsErased(t *testing.T) {
	w := newTenantsWorld(t)
	if err := w.AllowTenant(t.Context(), tenant.Fabrikam, ""); err != nil {
		t.Fatal(err)
	}
	w.everywhere()
	tokens := map[string]string{
		tenant.Alice: w.connect(w.server, tenant.Alice).access, tenant.Grace: w.connect(w.server, tenant.Grace).access, "a robot": w.robotOf(tenant.Fabrikam),
	}
	for who, token := range tokens {
		if status, body := w.call(token, "keep"); status != http.StatusOK || !strings.Contains(body, "kept") {
			t.Fatalf("%s keeps: %d %s", who, status, body)
		}
	}
	gone, stranger := grants.SubjectOf(tenant.Fabrikam, "long gone"), grants.SubjectOf(tenant.Contoso, "stays")
	for _, row := range []store.Row{
		{Partition: authserver.ApprovalPrefix + string(gone), Key: "a", Value: []byte(`{"v":1,"tenant":"` + grants.TenantHash(tenant.Fabrikam) + `"}`)},
		{Partition: authserver.ClaimsPrefix + string(gone), Key: "claims", Value: []byte(`sealed`)},
		{Partition: authserver.ApprovalPrefix + string(stranger), Key: "a", Value: []byte(`{"v":1,"tenant":"` + grants.TenantHash(tenant.Contoso) + `"}`)},
	} {
		if _, err := w.table.Insert(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	before := w.rowsOfUsers()
	if n, err := w.EraseTenant(t.Context(), tenant.Fabrikam); !errors.Is(err, operator.ErrNotDenied) || n != 0 || len(w.rowsOfUsers()) != len(before) {
		t.Fatalf("while they may come: %d, %v", n, err)
	}
	if err := w.DenyTenant(t.Context(), tenant.Fabrikam, "left"); err != nil {
		t.Fatal(err)
	}
	if n, err := w.EraseTenant(t.Context(), strings.ToUpper(tenant.Fabrikam)); err != nil || n != 3 {
		t.Errorf("%d users, %v", n, err)
	}
	stay := map[grants.Subject]bool{grants.SubjectOf(tenant.Contoso, w.ObjectID(tenant.Alice)): true, stranger: true}
	for partition := range w.rowsOfUsers() {
		_, rest, _ := strings.Cut(partition, "-")
		if subject := grants.Subject(rest[:64]); !stay[subject] {
			t.Errorf("%s is left", partition)
		}
	}
	if n := len(w.rowsOfUsers()); n != 3 { // Alice's grant and note, and the stranger's approval
		t.Errorf("%d partitions are left of others: %v", n, w.rowsOfUsers())
	}
}

// rowsOfUsers counts rows by partition.
func (w *tenantsWorld) rowsOfUsers() map[string]int {
	w.t.Helper()
	found := map[string]int{}
	for _, prefix := range []string{grants.GrantPrefix, authserver.ApprovalPrefix, authserver.ClaimsPrefix, toolkit.DataPrefix} {
		for _, row := range storetest.Rows(w.t, w.table, store.Prefix(prefix)) {
			found[row.Partition]++
		}
	}
	return found
}
