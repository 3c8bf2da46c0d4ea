package grants

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// newTenantInstance is an instance whose setting names the tenants, as with
// ENTRA_TENANT_ID=organizations.
func newTenantInstance(t failer, table store.Table, c *clock, setting ...string) *instance {
	t.Helper()
	i := newInstance(t, table, c.Now)
	i.tenants = tenantSet(setting)
	return i
}

// The setting and the table agree by one rule: a denial outweighs both, and a tenant
// that is named nowhere is refused, also with a token from before.
func TestATenantMayComeIfNamedAndNotDenied(t *testing.T) {
	allow := func(t *testing.T, i *instance) {
		if err := i.AllowTenant(context.Background(), strings.ToUpper(otherTenant), "joined"); err != nil {
			t.Fatal(err)
		}
	}
	deny := func(t *testing.T, i *instance) {
		if err := i.DenyTenant(context.Background(), strings.ToUpper(otherTenant), "left"); err != nil {
			t.Fatal(err)
		}
	}
	unblock := func(t *testing.T, i *instance) {
		if err := i.Unblock(context.Background(), BlockTenant, otherTenant); err != nil {
			t.Fatal(err)
		}
	}
	type acts []func(*testing.T, *instance)
	for name, tt := range map[string]struct {
		setting []string
		acts    acts
		may     bool
	}{
		"by the setting":                          {[]string{testIdentity.TenantID, otherTenant}, nil, true},
		"by the table":                            {[]string{testIdentity.TenantID}, acts{allow}, true},
		"by both":                                 {[]string{otherTenant}, acts{allow}, true},
		"by neither":                              {[]string{testIdentity.TenantID}, nil, false},
		"by nobody at all":                        {[]string{}, nil, false},
		"all may":                                 {nil, nil, true},
		"denied, though the setting says so":      {[]string{otherTenant}, acts{deny}, false},
		"denied, though all may":                  {nil, acts{deny}, false},
		"denied after it was allowed":             {[]string{testIdentity.TenantID}, acts{allow, deny}, false},
		"allowed again":                           {[]string{testIdentity.TenantID}, acts{deny, allow}, true},
		"unblocked, which does not allow it":      {[]string{testIdentity.TenantID}, acts{allow, deny, unblock}, false},
		"unblocked, and the setting counts again": {[]string{otherTenant}, acts{deny, unblock}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, table := newClock(), newTable(t)
			a, b := newTenantInstance(t, table, c, tt.setting...), newTenantInstance(t, table, c, tt.setting...)
			if tt.setting == nil {
				a.tenants, b.tenants = nil, nil
			}
			before := signInAs(t, a, otherTenant, "object-9", testClient)
			mustBeCurrent(t, b)
			for _, act := range tt.acts {
				act(t, a)
			}
			c.Advance(MaxStale + time.Second)
			for _, i := range []*instance{a, b} {
				_, err := i.Verify(context.Background(), before.Access.Reveal())
				if (err == nil) != tt.may || (err != nil && oauth.ErrorCode(err) != oauth.InvalidToken) {
					t.Errorf("a call: %v", err)
				}
				blocked, err := i.Blocked(context.Background(), Parties{TenantID: otherTenant})
				if (blocked == nil) != tt.may || err != nil {
					t.Errorf("Blocked: %+v, %v", blocked, err)
				}
				for _, token := range []string{before.Access.Reveal(), before.Refresh.Reveal()} {
					if got, err := i.Introspect(context.Background(), token, testClient); err != nil || got.Active != tt.may {
						t.Errorf("introspection: %+v, %v", got, err)
					}
				}
			}
		})
	}
}

// TenantAllowed is what Entra's side asks: the table alone.
func TestTheTableSaysWhichTenantsItAdmits(t *testing.T) {
	c, table := newClock(), newTable(t)
	a, b := newTenantInstance(t, table, c), newTenantInstance(t, table, c)
	ctx := context.Background()
	mustBeCurrent(t, b)
	want := func(i *instance, may bool) {
		t.Helper()
		if got, err := i.TenantAllowed(ctx, otherTenant); err != nil || got != may {
			t.Errorf("%t, %v, want %t", got, err, may)
		}
	}
	want(b, false)
	if err := a.AllowTenant(ctx, otherTenant, "ticket 12"); err != nil {
		t.Fatal(err)
	}
	c.Advance(MaxStale + time.Second)
	want(b, true)
	if list, err := b.Tenants(ctx); err != nil || len(list) != 1 || list[0] != (Tenant{otherTenant, true, "ticket 12", list[0].At}) || list[0].At.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := b.Blocks(ctx); err != nil || len(list) != 0 {
		t.Errorf("an admission is listed as a block: %+v, %v", list, err)
	}
	if err := b.DenyTenant(ctx, otherTenant, "left"); err != nil {
		t.Fatal(err)
	}
	c.Advance(MaxStale + time.Second)
	want(a, false)
	if list, err := a.Tenants(ctx); err != nil || len(list) != 1 || list[0].Allowed || list[0].Reason != "left" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, id := range []string{testIdentity.TenantID, "00000000-0000-0000-0000-00000000000f"} {
		if err := a.AllowTenant(ctx, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := a.Tenants(ctx); err != nil || len(list) != 3 || list[0].ID > list[1].ID || list[1].ID > list[2].ID {
		t.Errorf("not by ID: %+v, %v", list, err)
	}
	if err := a.AllowTenant(ctx, "contoso.com", ""); oauth.ErrorCode(err) != oauth.InvalidRequest {
		t.Errorf("a domain, which no token names: %v", err)
	}
	if err := a.DenyTenant(ctx, "contoso.com", ""); oauth.ErrorCode(err) != oauth.InvalidRequest {
		t.Errorf("a domain, which no token names: %v", err)
	}
	a.wire.Before(storetest.Fail(errDown))
	c.Advance(MaxStale + time.Second)
	_, err := a.TenantAllowed(ctx, otherTenant)
	wantCode(t, err, oauth.TemporarilyUnavailable)
}

// If only the first of the two writes is made, the tenant stays refused.
func TestHalfOfADecisionAboutATenantLetsNobodyIn(t *testing.T) {
	for name, tt := range map[string]struct{ first, second func(*instance) error }{
		"allowing one that is denied": {
			func(i *instance) error { return i.DenyTenant(context.Background(), otherTenant, "") },
			func(i *instance) error { return i.AllowTenant(context.Background(), otherTenant, "") },
		},
		"denying one that is allowed": {
			func(i *instance) error { return i.AllowTenant(context.Background(), otherTenant, "") },
			func(i *instance) error { return i.DenyTenant(context.Background(), otherTenant, "") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newTenantInstance(t, newTable(t), newClock(), testIdentity.TenantID)
			if err := tt.first(i); err != nil {
				t.Fatal(err)
			}
			// The row of the first of the two is there; removing the other's fails.
			i.wire.Before(storetest.Fail(errDown, storetest.Get))
			wantCode(t, tt.second(i), oauth.TemporarilyUnavailable)
			i.wire.Repair()
			if may, err := i.TenantAllowed(context.Background(), otherTenant); may || err != nil {
				t.Errorf("%t, %v", may, err)
			}
			if err := tt.second(i); err != nil {
				t.Errorf("repeated: %v", err)
			}
		})
	}
}

// A grant of a version that kept no tenant in its row is not refused for that: the
// next refresh asks Entra, whose answer names the tenant.
func TestAGrantWithoutATenantIsRefreshed(t *testing.T) {
	table := newTable(t)
	i := newTenantInstance(t, table, newClock(), testIdentity.TenantID)
	tokens := signIn(t, i.Service)
	row := storetest.MustGet(t, table, tokens.Grant.Subject.partition(), tokens.Grant.ID)
	var value map[string]any
	err := json.Unmarshal(row.Value, &value)
	if err != nil {
		t.Fatal(err)
	}
	delete(value, "tenant")
	if row.Value, err = json.Marshal(value); err != nil {
		t.Fatal(err)
	}
	storetest.MustReplace(t, table, row)
	if got, err := i.Introspect(context.Background(), tokens.Refresh.Reveal(), testClient); err != nil || !got.Active {
		t.Errorf("introspection: %+v, %v", got, err)
	}
	next := mustRefresh(t, i.Service, tokens.Refresh)
	mustVerify(t, i.Service, next.Access)
	if r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); err != nil || r.TenantHash != TenantHash(testIdentity.TenantID) {
		t.Errorf("the row names the tenant %q, %v", r.TenantHash, err)
	}
}
