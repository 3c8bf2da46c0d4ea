package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

// TestWhoAmIWithGraph: without consent the tool says who can give it and where;
// with it, the profile comes from Graph on behalf of the user. The API is named
// by the application's GUID, as AADSTS90009 asks for.
func TestWhoAmIWithGraph(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Env: map[string]string{"ENTRA_API_SCOPE": stack.ClientID + "/" + tenant.DefaultScope}})
	a := newApp(t, s, stack.Alice).signIn("openid", "User.Read")
	got := a.call("identity")
	if !got.failed || !strings.Contains(got.text, s.URL+"/connect?request=") {
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
	got = newApp(t, s, stack.Bob).signIn("openid").call("identity")
	if roles, _ := got.structured["roles"].([]any); len(roles) != 0 || got.structured["profile"] != nil {
		t.Errorf("without roles and User.Read: %+v", got)
	}
}

// TestAnExpiredAssertionIsRenewedOnce: Entra's clock decides when the user's
// token is over, and the tool's caller notices nothing.
func TestAnExpiredAssertionIsRenewedOnce(t *testing.T) {
	t.Parallel()
	var b between
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Between: b.wrap})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newApp(t, s, stack.Alice).signIn("openid", "User.Read")
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
	if answer := a.renew(); answer.Status != http.StatusOK {
		t.Errorf("the grant did not survive: %+v", answer)
	}
}

// TestAClaimsChallengeOfAToolIsMetInTheNextSignIn as one at a renewal is.
func TestAClaimsChallengeOfAToolIsMetInTheNextSignIn(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newApp(t, s, stack.Alice).signIn("openid", "User.Read")
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
	t.Parallel()
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	reconfigure(t, s, func(a *tenant.App) { a.GroupsClaim = true })
	newApp(t, s, tenant.Heidi).signIn("openid")
	if log := s.Log(); !strings.Contains(log, "assign app roles to them") {
		t.Error("the log does not say what to do instead")
	}
}

// TestAUserConsentsWhenAToolNeedsIt: the tool's error holds a link to a page of this server,
// which names the app and the permission; after Entra's consent the tool works. The link
// tells nobody who the user is, and somebody else who opens it gives no consent for them.
func TestAUserConsentsWhenAToolNeedsIt(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	a := newApp(t, s, stack.Alice).signIn("openid", "User.Read")
	got := a.call("identity")
	i := strings.Index(got.text, s.URL+"/connect?request=")
	if !got.failed || i < 0 {
		t.Fatalf("without consent: %+v", got)
	}
	link := strings.Fields(got.text[i:])[0]
	if strings.Contains(link, "alice") || strings.Contains(link, "User.Read") {
		t.Errorf("the link says too much: %s", link)
	}
	_, err := stack.NewBrowser(stack.Bob).SignInAt(link)
	if err == nil || !strings.Contains(err.Error(), "a different account") {
		t.Errorf("somebody else: %v", err)
	}
	if got := a.call("identity"); !got.failed {
		t.Errorf("after somebody else's consent: %+v", got)
	}
	alice := stack.NewBrowser(stack.Alice)
	page, err := alice.Open(link)
	if err != nil || !strings.Contains(page.Body, "Read your Microsoft profile") || !strings.Contains(page.Body, "armed") {
		t.Errorf("the page is %+v, %v", page, err)
	}
	done, err := alice.SignInAt(link)
	if err != nil || !strings.HasSuffix(done.URL.Path, "/connect/done") {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := a.call("identity"); got.failed || got.structured["profile"] == nil {
		t.Errorf("with consent: %+v", got)
	}
	for _, bad := range []string{"", "made-up", link[strings.Index(link, "=")+1:] + "x"} {
		if page, err := alice.Open(s.URL + "/connect?request=" + bad); err != nil || page.Status != http.StatusBadRequest {
			t.Errorf("a link that is not ours: %+v, %v", page, err)
		}
	}
	s.Clock.Advance(11 * time.Minute)
	if page, err := alice.Open(link); err != nil || page.Status != http.StatusBadRequest {
		t.Errorf("an old link: %+v, %v", page, err)
	}
}
