package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
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

func wantEnded(t *testing.T, answer oauthclient.Answer, says string) {
	t.Helper()
	if answer.Status != http.StatusBadRequest || answer.Member("error") != "invalid_grant" {
		t.Errorf("the renewal was answered with %v, want invalid_grant", answer)
	}
	if strings.Contains(answer.Member("error_description"), "AADSTS") && !strings.Contains(answer.Member("error_description"), says) {
		t.Errorf("error_description %q does not say %q", answer.Member("error_description"), says)
	}
}

// TestKeysRollInMidSignIn: Entra signs with a key that was published after the
// server has read the others, and the old ones are gone.
func TestKeysRollInMidSignIn(t *testing.T) {
	t.Parallel()
	var b between
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Between: b.wrap})
	newApp(t, s, stack.Alice).signIn("openid")
	rolled := 0
	b.set(func(grantType string, _ http.ResponseWriter) bool {
		if rolled++; grantType == "authorization_code" {
			if err := s.Tenant.RollKeys(true); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	a := newApp(t, s, stack.Bob).signIn("openid")
	if got := a.call("identity"); rolled == 0 || got.structured["username"] != stack.Bob {
		t.Errorf("after %d rollovers: %+v", rolled, got)
	}
}

// TestWhoLosesAccessIsSignedOutAtTheNextRenewal, and is told why at the next
// sign-in. Everyone else goes on.
func TestWhoLosesAccessIsSignedOutAtTheNextRenewal(t *testing.T) {
	t.Parallel()
	// A generation younger than a fifteenth of the grace is not rotated.
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Env: map[string]string{"REFRESH_GRACE": "1s"}})
	for name, tt := range map[string]struct {
		user    string
		lose    func(*tenant.User)
		says    string
		returns bool // by signing in again
	}{
		"disabled":                {stack.Alice, func(u *tenant.User) { u.Disabled = true }, "50057", false},
		"blocked":                 {stack.Bob, func(u *tenant.User) { u.Blocked = true }, "53003", false},
		"must use another factor": {tenant.Heidi, func(u *tenant.User) { u.MFA = true }, "", true},
		"sessions were revoked":   {tenant.Carol, nil, "50173", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, s, tt.user).signIn("openid")
			if tt.lose != nil {
				change(t, s, tt.user, tt.lose)
			} else if err := s.Tenant.RevokeSessions(tt.user); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			wantEnded(t, a.renew(), tt.says)
			wantEnded(t, a.renew(), "")
			q := a.authorize("openid")
			if tt.returns && q.Get("code") == "" || !tt.returns && (q.Get("error") != "access_denied" || !strings.Contains(q.Get("error_description"), tt.says)) {
				t.Errorf("the next sign-in: %v", q)
			}
		})
	}
}

// TestAClaimsChallengeIsMetInTheNextSignIn: conditional access asks for more
// when the client renews; that client is signed out, and the user's next
// sign-in, with whatever client, carries the claims. Others' do not.
func TestAClaimsChallengeIsMetInTheNextSignIn(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	a, other := newApp(t, s, stack.Alice).signIn("openid"), newApp(t, s, stack.Bob)
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
	if answer := a.renew(); answer.Status != http.StatusOK {
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

// TestOnlyAllowedTenantsComeIn where accounts of every tenant could.
func TestOnlyAllowedTenantsComeIn(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}, Env: map[string]string{"ENTRA_TENANT_ID": "organizations", "ENTRA_ALLOWED_TENANTS": tenant.Fabrikam}})
	reconfigure(t, s, func(a *tenant.App) { a.SignInAudience = tenant.MultiTenant })
	grace := newApp(t, s, tenant.Grace).signIn("openid")
	if got := grace.call("identity"); got.structured["tenant_id"] != tenant.Fabrikam {
		t.Errorf("Grace: %+v", got)
	}
	if answer := grace.renew(); answer.Status != http.StatusOK {
		t.Errorf("Grace's renewal: %+v", answer)
	}
	if q := newApp(t, s, stack.Alice).authorize("openid"); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("Alice, whose tenant is not allowed: %v", q)
	}
	if got := grace.call("greet"); got.Status != http.StatusOK {
		t.Errorf("Grace: %+v", got)
	}
}
