package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

// TestWhoAmIWithGraph: without consent the tool says who can give it and where;
// with it, the profile comes from Graph on behalf of the user. The API is named
// by the application's GUID, as AADSTS90009 asks for.
func TestWhoAmIWithGraph(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Env: map[string]string{"ENTRA_API_SCOPE": stack.ClientID + "/" + tenant.DefaultScope}})
	a := newAppOf(t, s, stack.Alice).signIn("openid", "User.Read")
	got := a.call("identity")
	if !got.failed || !strings.Contains(got.text, "/v2.0/adminconsent?") || !strings.Contains(got.text, "administrator") {
		t.Errorf("without consent: %+v", got)
	}
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	got = a.call("identity")
	profile, _ := got.structured["profile"].(map[string]any)
	if profile["displayName"] != "Alice Ames" || got.structured["username"] != stack.Alice {
		t.Errorf("with consent: %+v", got)
	}
	for member, want := range map[string]string{"roles": "Mcp.Admin", "scopes": "User.Read"} {
		if list, _ := got.structured[member].([]any); !slices.Contains(list, any(want)) {
			t.Errorf("%s %v lack %s", member, list, want)
		}
	}
	got = newAppOf(t, s, stack.Bob).signIn("openid").call("identity")
	if roles, _ := got.structured["roles"].([]any); len(roles) != 0 || got.structured["profile"] != nil {
		t.Errorf("without roles and User.Read: %+v", got)
	}
}

// TestAnExpiredAssertionIsRenewedOnce: Entra's clock decides when the user's
// token is over, and the tool's caller notices nothing.
func TestAnExpiredAssertionIsRenewedOnce(t *testing.T) {
	var b between
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Between: b.wrap})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newAppOf(t, s, stack.Alice).signIn("openid", "User.Read")
	var grantTypes []string
	b.set(func(grantType string, w http.ResponseWriter) bool {
		grantTypes = append(grantTypes, grantType[strings.LastIndex(grantType, ":")+1:])
		if len(grantTypes) > 1 {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"AADSTS500133: Assertion is not within its valid time range.","error_codes":[500133]}`))
		return true
	})
	got := a.call("identity")
	if want := []string{"jwt-bearer", "refresh_token", "jwt-bearer"}; got.failed || !slices.Equal(grantTypes, want) {
		t.Errorf("requests %v, want %v: %+v", grantTypes, want, got)
	}
	b.set(nil)
	if answer := a.renew(); answer.status != http.StatusOK {
		t.Errorf("the grant did not survive: %+v", answer)
	}
}

// TestAClaimsChallengeOfAToolIsMetInTheNextSignIn as one at a renewal is.
func TestAClaimsChallengeOfAToolIsMetInTheNextSignIn(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newAppOf(t, s, stack.Alice).signIn("openid", "User.Read")
	change(t, s, stack.Alice, func(u *tenant.User) { u.Challenge = stepUp })
	if got := a.call("identity"); !got.failed || !strings.Contains(got.text, "Sign in again") {
		t.Errorf("%+v", got)
	}
	before := len(s.Tenant.Requests())
	a.signIn("openid", "User.Read")
	if got := a.call("identity"); got.failed || claimsSent(s, before) != 1 {
		t.Errorf("claims sent %d times, then %+v", claimsSent(s, before), got)
	}
}

// TestGroupsOverageGivesAdvice: a sign-in with it works, and the operator reads
// what to do instead of groups.
func TestGroupsOverageGivesAdvice(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	reconfigure(t, s, func(a *tenant.App) { a.GroupsClaim = true })
	newAppOf(t, s, tenant.Heidi).signIn("openid")
	if log := s.Log(); !strings.Contains(log, "assign app roles to the groups") {
		t.Error("the log does not say what to do instead")
	}
}
