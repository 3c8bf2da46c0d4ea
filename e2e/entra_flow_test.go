package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

const stepUp = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`

// between runs do before each token request of a grant type that the tenant
// gets; if do returns true it has answered.
type between struct {
	mu sync.Mutex
	do func(grantType string, w http.ResponseWriter) bool
}

func (b *between) set(do func(grantType string, w http.ResponseWriter) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.do = do
}

func (b *between) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		do := b.do
		b.mu.Unlock()
		if do != nil && strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") && r.ParseForm() == nil && do(r.PostForm.Get("grant_type"), w) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

func change(t *testing.T, s *stack.Stack, user string, edit func(*tenant.User)) {
	t.Helper()
	if err := s.Tenant.Change(user, edit); err != nil {
		t.Fatal(err)
	}
}

func reconfigure(t *testing.T, s *stack.Stack, edit func(*tenant.App)) {
	t.Helper()
	if err := s.Tenant.Reconfigure(stack.ClientID, edit); err != nil {
		t.Fatal(err)
	}
}

func wantEnded(t *testing.T, answer wire, says string) {
	t.Helper()
	if answer.status != http.StatusBadRequest || answer.text("error") != "invalid_grant" {
		t.Errorf("the renewal was answered with %d %v, want invalid_grant", answer.status, answer.body)
	}
	if strings.Contains(answer.text("error_description"), "AADSTS") && !strings.Contains(answer.text("error_description"), says) {
		t.Errorf("error_description %q does not say %q", answer.text("error_description"), says)
	}
}

// TestKeysRollInMidSignIn: Entra signs with a key that was published after the
// server has read the others, and the old ones are gone.
func TestKeysRollInMidSignIn(t *testing.T) {
	var b between
	s := stack.Start(t, stack.Options{Between: b.wrap})
	newApp(t, s.URL, stack.Alice).signIn("openid")
	rolled := 0
	b.set(func(grantType string, _ http.ResponseWriter) bool {
		if rolled++; grantType == "authorization_code" {
			if err := s.Tenant.RollKeys(true); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	a := newApp(t, s.URL, stack.Bob).signIn("openid")
	if got := a.call("who_am_i"); rolled == 0 || got.structured["username"] != stack.Bob {
		t.Errorf("after %d rollovers: %+v", rolled, got)
	}
}

// TestThrottlingSignsNobodyOut: the client is told when to come back, and the
// same refresh token then works.
func TestThrottlingSignsNobodyOut(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	a := newApp(t, s.URL, stack.Alice).signIn("openid")
	s.Tenant.Throttle(1, 7*time.Second)
	if answer := a.renew(); answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") != "7" {
		t.Errorf("while throttled: %d, Retry-After %q, %v", answer.status, answer.header.Get("Retry-After"), answer.body)
	}
	if got := a.call("hello_world"); got.status != http.StatusOK {
		t.Errorf("the access token is no longer good: %+v", got)
	}
	if answer := a.renew(); answer.status != http.StatusOK {
		t.Errorf("after the throttling: %+v", answer)
	}
}

// TestWhoLosesAccessIsSignedOutAtTheNextRenewal, and is told why at the next
// sign-in. Everyone else goes on.
func TestWhoLosesAccessIsSignedOutAtTheNextRenewal(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	for name, tt := range map[string]struct {
		user string
		lose func(*tenant.User)
		then string // what the next sign-in says
	}{
		"disabled":                {stack.Alice, func(u *tenant.User) { u.Disabled = true }, "50057"},
		"blocked":                 {stack.Bob, func(u *tenant.User) { u.Blocked = true }, "53003"},
		"must use another factor": {tenant.Heidi, func(u *tenant.User) { u.MFA = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, s.URL, tt.user).signIn("openid")
			if answer := a.renew(); answer.status != http.StatusOK {
				t.Fatalf("before: %+v", answer)
			}
			change(t, s, tt.user, tt.lose)
			wantEnded(t, a.renew(), tt.then)
			wantEnded(t, a.renew(), "")
			q := a.authorize("openid")
			if tt.then == "" {
				if q.Get("code") == "" {
					t.Errorf("with the factor: %v", q)
				}
				return
			}
			if q.Get("error") != "access_denied" || !strings.Contains(q.Get("error_description"), tt.then) {
				t.Errorf("the next sign-in: %v", q)
			}
		})
	}
}

// TestRevokedSessionsEndTheGrant: what an administrator does when a laptop is
// lost. Signing in afresh is possible.
func TestRevokedSessionsEndTheGrant(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	a := newApp(t, s.URL, stack.Alice).signIn("openid")
	if err := s.Tenant.RevokeSessions(stack.Alice); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, a.renew(), "50173")
	a.signIn("openid")
}

// TestWhoIsNotAssignedIsToldWhoCanHelp: on a page, because many clients show
// nothing, and to the client.
func TestWhoIsNotAssignedIsToldWhoCanHelp(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	reconfigure(t, s, func(a *tenant.App) { a.AssignmentRequired = true })
	a := newApp(t, s.URL, tenant.Erin)
	q := a.authorize("openid")
	if q.Get("error") != "access_denied" || !strings.Contains(q.Get("error_description"), "AADSTS50105") {
		t.Errorf("the client got %v", q)
	}
	last := a.browser.Seen[len(a.browser.Seen)-1]
	if !strings.Contains(last.Body, "You are not assigned to this application.") || !strings.Contains(last.Body, "Users and groups") {
		t.Errorf("the person saw\n%s", last.Body)
	}
	change(t, s, tenant.Erin, func(u *tenant.User) { u.Unassigned = false })
	a.signIn("openid")
}

// TestAClaimsChallengeIsMetInTheNextSignIn: conditional access asks for more
// when the client renews; that client is signed out, and the user's next
// sign-in, with whatever client, carries the claims. Others' do not.
func TestAClaimsChallengeIsMetInTheNextSignIn(t *testing.T) {
	s := stack.Start(t, stack.Options{Instances: 2})
	a, other := newApp(t, s.URL, stack.Alice).signIn("openid"), newApp(t, s.URL, stack.Bob)
	change(t, s, stack.Alice, func(u *tenant.User) { u.Challenge = stepUp })
	wantEnded(t, a.renew(), "50076")
	before := len(s.Tenant.Requests())
	other.signIn("openid")
	if n := claimsSent(s, before); n != 0 {
		t.Errorf("another user's sign-in carried the claims %d times", n)
	}
	a.signIn("openid")
	if n := claimsSent(s, before); n != 1 {
		t.Errorf("the claims were sent %d times, want once", n)
	}
	if answer := a.renew(); answer.status != http.StatusOK {
		t.Errorf("the challenge is not met: %+v", answer)
	}
	a.signIn("openid")
	if n := claimsSent(s, before); n != 1 {
		t.Errorf("a challenge that was met is asked again, %d times", n)
	}
}

func claimsSent(s *stack.Stack, from int) (n int) {
	for _, seen := range s.Tenant.Requests()[from:] {
		if seen.Endpoint == "authorize" && seen.Form.Get("claims") == stepUp {
			n++
		}
	}
	return n
}

// TestWhoAmIWithGraph: without consent the tool says who can give it and where;
// with it, the profile comes from Graph on behalf of the user. The API is named
// by the application's GUID, as AADSTS90009 asks for.
func TestWhoAmIWithGraph(t *testing.T) {
	s := stack.Start(t, stack.Options{Env: map[string]string{"ENTRA_API_SCOPE": stack.ClientID + "/" + tenant.DefaultScope}})
	a := newApp(t, s.URL, stack.Alice).signIn("openid", "User.Read")
	got := a.call("who_am_i")
	if !got.failed || !strings.Contains(got.text, "/v2.0/adminconsent?") || !strings.Contains(got.text, "administrator") {
		t.Errorf("without consent: %+v", got)
	}
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	got = a.call("who_am_i")
	profile, _ := got.structured["profile"].(map[string]any)
	if profile["displayName"] != "Alice Ames" || got.structured["username"] != stack.Alice {
		t.Errorf("with consent: %+v", got)
	}
	for member, want := range map[string]string{"roles": "Mcp.Admin", "scopes": "User.Read"} {
		if list, _ := got.structured[member].([]any); !slices.Contains(list, any(want)) {
			t.Errorf("%s %v lack %s", member, list, want)
		}
	}
	got = newApp(t, s.URL, stack.Bob).signIn("openid").call("who_am_i")
	if roles, _ := got.structured["roles"].([]any); len(roles) != 0 || got.structured["profile"] != nil {
		t.Errorf("without roles and User.Read: %+v", got)
	}
}

// TestAnExpiredAssertionIsRenewedOnce: Entra's clock decides when the user's
// token is over, and the tool's caller notices nothing.
func TestAnExpiredAssertionIsRenewedOnce(t *testing.T) {
	var b between
	s := stack.Start(t, stack.Options{Between: b.wrap})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newApp(t, s.URL, stack.Alice).signIn("openid", "User.Read")
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
	got := a.call("who_am_i")
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
	s := stack.Start(t, stack.Options{})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	a := newApp(t, s.URL, stack.Alice).signIn("openid", "User.Read")
	change(t, s, stack.Alice, func(u *tenant.User) { u.Challenge = stepUp })
	if got := a.call("who_am_i"); !got.failed || !strings.Contains(got.text, "Sign in again") {
		t.Errorf("%+v", got)
	}
	before := len(s.Tenant.Requests())
	a.signIn("openid", "User.Read")
	if got := a.call("who_am_i"); got.failed || claimsSent(s, before) != 1 {
		t.Errorf("claims sent %d times, then %+v", claimsSent(s, before), got)
	}
}

// TestGroupsOverageGivesAdvice: a sign-in with it works, and the operator reads
// what to do instead of groups.
func TestGroupsOverageGivesAdvice(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	reconfigure(t, s, func(a *tenant.App) { a.GroupsClaim = true })
	newApp(t, s.URL, tenant.Heidi).signIn("openid")
	if log := s.Instances[0].Log(); !strings.Contains(log, "assign app roles to the groups") {
		t.Error("the log does not say what to do instead")
	}
}

// TestOnlyAllowedTenantsComeIn where accounts of every tenant could.
func TestOnlyAllowedTenantsComeIn(t *testing.T) {
	s := stack.Start(t, stack.Options{Env: map[string]string{"ENTRA_TENANT_ID": "organizations", "ENTRA_ALLOWED_TENANTS": tenant.Fabrikam}})
	reconfigure(t, s, func(a *tenant.App) { a.SignInAudience = tenant.MultiTenant })
	grace := newApp(t, s.URL, tenant.Grace).signIn("openid")
	if got := grace.call("who_am_i"); got.structured["tenant_id"] != tenant.Fabrikam {
		t.Errorf("Grace: %+v", got)
	}
	if answer := grace.renew(); answer.status != http.StatusOK {
		t.Errorf("Grace's renewal: %+v", answer)
	}
	if q := newApp(t, s.URL, stack.Alice).authorize("openid"); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("Alice, whose tenant is not allowed: %v", q)
	}
	if got := grace.call("hello_world"); got.status != http.StatusOK {
		t.Errorf("Grace: %+v", got)
	}
}

// TestACertificateIsACredential, which can be replaced while the server runs.
func TestACertificateIsACredential(t *testing.T) {
	cert := certificate(t)
	s := stack.Start(t, stack.Options{Env: map[string]string{"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_CERTIFICATE_PATH": cert.path}})
	reconfigure(t, s, func(a *tenant.App) { a.Secrets, a.Certificates = nil, append(a.Certificates, cert.cert) })
	a := newApp(t, s.URL, stack.Alice).signIn("openid")
	if answer := a.renew(); answer.status != http.StatusOK {
		t.Errorf("renewal: %+v", answer)
	}
}

// TestAManagedIdentityIsACredential: no secret exists. azidentity gets the
// identity's token from the endpoint that App Service gives to the process.
func TestAManagedIdentityIsACredential(t *testing.T) {
	identity := tenant.ManagedIdentity{ClientID: "3c9a52a1-0000-4000-8000-00000000de71", Principal: "3c9a52a1-0000-4000-8000-0000000b1ec7", Header: "only this app knows"}
	endpoint := httptest.NewUnstartedServer(nil)
	address := &url.URL{Scheme: "http", Host: endpoint.Listener.Addr().String(), Path: "/msi/token"}
	s := stack.Start(t, stack.Options{Env: map[string]string{
		"ENTRA_CLIENT_SECRET": "", "ENTRA_MANAGED_IDENTITY_CLIENT_ID": identity.ClientID,
		"IDENTITY_ENDPOINT": address.String(), "IDENTITY_HEADER": identity.Header,
	}})
	endpoint.Config.Handler = s.Tenant.ManagedIdentity(identity)
	endpoint.Start()
	t.Cleanup(endpoint.Close)
	reconfigure(t, s, func(a *tenant.App) {
		a.Secrets, a.Federated = nil, []tenant.FederatedCredential{s.Tenant.Federation(identity)}
	})
	a := newApp(t, s.URL, stack.Alice).signIn("openid")
	if answer := a.renew(); answer.status != http.StatusOK {
		t.Errorf("renewal: %+v", answer)
	}
	// An identity that the app registration does not trust: the operator's
	// mistake signs nobody out.
	reconfigure(t, s, func(a *tenant.App) { a.Federated[0].Subject = "3c9a52a1-0000-4000-8000-00000000dead" })
	if answer := a.renew(); answer.status != http.StatusServiceUnavailable || !strings.Contains(answer.text("error_description"), "AADSTS70021") {
		t.Errorf("renewal with an identity that is not trusted: %+v", answer)
	}
}

// down answers as Entra does in an outage.
func down(_ string, w http.ResponseWriter) bool {
	w.WriteHeader(http.StatusServiceUnavailable)
	return true
}
