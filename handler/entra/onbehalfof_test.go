package entra

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"

	sim "entramcp/dev/tenant"
	"entramcp/handler/clocktest"
)

// graphScopes name Graph as the simulated tenant serves it.
func (e *tenant) graphScope(name string) string { return "https://graph.microsoft.com/" + name }

func TestOnBehalfOfWorksWithEachCredential(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *tenant) *Client{
		"secret": func(_ *testing.T, e *tenant) *Client { return e.client() },
		"certificate": func(t *testing.T, e *tenant) *Client {
			path := filepath.Join(t.TempDir(), "client.pem")
			e.useCertificate(writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now()))
			return e.client(func(cfg *Config) { cfg.Secret, cfg.CertificatePath = Secret{}, path })
		},
		"managed identity": func(_ *testing.T, e *tenant) *Client { return e.client(e.newIdentityEndpoint().use) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			c := use(t, e)
			signIn := e.signedInAs(c, sim.Alice)
			token, expires, err := c.onBehalfOf(context.Background(), signIn.AccessToken, []string{e.graphScope("User.Read")})
			e.must(err)
			if life := expires.Sub(e.clock.Now()); life < time.Hour || life > 90*time.Minute {
				t.Errorf("it lives for %s", life)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.server.URL+"/v1.0/me", nil)
			e.must(err)
			req.Header.Set("Authorization", "Bearer "+token.Reveal())
			res, err := http.DefaultClient.Do(req)
			e.must(err)
			defer res.Body.Close()
			var profile struct{ DisplayName string }
			if err := json.NewDecoder(res.Body).Decode(&profile); err != nil || profile.DisplayName != "Alice Ames" {
				t.Errorf("Graph says %s %q, %v", res.Status, profile.DisplayName, err)
			}
		})
	}
}

func TestOnBehalfOfExplainsWhatIsMissing(t *testing.T) {
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["x"]}}}`
	e := newTenant(t, consenting)
	c := e.client()
	s := e.signedInAs(c, sim.Bob)
	scopes := []string{e.graphScope("Mail.Read")}
	_, _, err := c.onBehalfOf(context.Background(), s.AccessToken, scopes)
	f := AsError(err)
	u, _ := url.Parse(f.ConsentURL)
	if f.Kind != ConsentNeeded || u.Query().Get("scope") != scopes[0] {
		t.Errorf("error is %v, link %s", f, f.ConsentURL)
	}

	e.must(e.GrantConsent(sim.Bob, testClient, scopes[0]))
	e.must(e.Change(sim.Bob, func(u *sim.User) { u.Challenge = challenge }))
	_, _, err = c.onBehalfOf(context.Background(), s.AccessToken, scopes)
	if f := AsError(err); f.Kind != InteractionNeeded || f.Claims != challenge {
		t.Errorf("error is %v with claims %q", f, f.Claims)
	}

	without := e.client(func(cfg *Config) { cfg.APIScope = "" })
	_, _, err = without.onBehalfOf(context.Background(), s.AccessToken, scopes)
	if f := AsError(err); f.Kind != Misconfigured || !strings.Contains(f.NextStep, "ENTRA_API_SCOPE") {
		t.Errorf("error is %v", f)
	}
}

func TestOnBehalfOfGoesToTheUsersTenant(t *testing.T) {
	e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.AnyAccount })
	e.respondTokens(nil)
	c := e.client(func(cfg *Config) { cfg.Tenant, cfg.AllowedTenants = "common", []string{"*"} })
	for tid, path := range map[string]string{otherTenant: otherTenant, "../" + otherTenant: "common", "": "common"} {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"tid": tid}).SignedString([]byte("k"))
		e.must(err)
		_, _, err = c.onBehalfOf(context.Background(), accessToken(token), []string{e.graphScope("User.Read")})
		e.must(err)
		if got := e.paths[len(e.paths)-1]; got != "/"+path+"/oauth2/v2.0/token" {
			t.Errorf("tid %q: the request went to %s", tid, got)
		}
	}
}

// TestAzidentityRefusesLoopback holds the reason why on-behalf-of requests are
// our own: should it fail one day, azidentity has become an option.
func TestAzidentityRefusesLoopback(t *testing.T) {
	e := newTenant(t)
	c, err := azidentity.NewOnBehalfOfCredentialWithSecret(testTenant, testClient, "user-token", testSecret, &azidentity.OnBehalfOfCredentialOptions{
		ClientOptions:            policy.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.server.URL}},
		DisableInstanceDiscovery: true,
	})
	if err == nil {
		_, err = c.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{e.graphScope("User.Read")}})
	}
	if err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("got %v", err)
	}
}

// keptSignIn is a sign-in that is kept in memory.
type keptSignIn struct {
	mu         sync.Mutex
	id         string
	held       Assertion
	renewals   int
	challenges []string
	foreign    error // what Renewed answers
	unread     error // what Tokens answers
}

func (k *keptSignIn) ID() string { return k.id }

func (k *keptSignIn) Tokens(context.Context) (Assertion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held, k.unread
}

func (k *keptSignIn) Renewed(_ context.Context, s SignIn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewals++
	k.held = Assertion{AccessToken: s.AccessToken, Expires: s.AccessTokenExpires, RefreshToken: s.RefreshToken}
	return k.foreign
}

func (k *keptSignIn) Challenged(_ context.Context, claims string) {
	k.challenges = append(k.challenges, claims)
}

// signedIn is a sign-in whose tokens the token endpoint takes without a look.
func (e *tenant) signedIn() *keptSignIn {
	e.respondTokens(map[string]any{"refresh_token": "refresh-2"})
	return &keptSignIn{id: "grant-1", held: Assertion{AccessToken: accessToken("user-token"), Expires: e.clock.Now().Add(time.Hour), RefreshToken: refreshToken("refresh-1")}}
}

func mustToken(t *testing.T, o *OnBehalfOf, user SignedIn, scopes ...string) APIToken {
	t.Helper()
	token, err := o.Token(context.Background(), user, scopes...)
	if err != nil || token.IsZero() {
		t.Fatalf("no token: %v", err)
	}
	return token
}

func TestTokensForOtherAPIsAreKeptUntilShortlyBeforeTheirEnd(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	for _, step := range []struct {
		name     string
		do       func()
		scopes   []string
		requests int
	}{
		{"first", func() {}, []string{"a/x", "a/y"}, 1},
		{"again, in another order", func() {}, []string{"a/y", "a/x"}, 1},
		{"another scope", func() {}, []string{"a/x"}, 2},
		{"another user", func() { user.id = "grant-2" }, []string{"a/x"}, 3},
		{"the first user again", func() { user.id = "grant-1" }, []string{"a/x"}, 3},
		{"good for longer than it is kept", func() {
			e.respondTokens(map[string]any{"expires_in": 7200, "refresh_token": "refresh-2"})
			user.held.Expires = e.clock.Now().Add(3 * time.Hour)
		}, []string{"b/z"}, 4},
		{"still kept", func() { e.clock.Advance(apiTokenKeptFor - time.Second) }, []string{"b/z"}, 4},
		{"kept for no longer", func() { e.clock.Advance(time.Second) }, []string{"b/z"}, 5},
		{"shortly before its end", func() { e.respondTokens(nil); user.id = "grant-3" }, []string{"a/x"}, 6},
		{"a moment before that", func() { e.clock.Advance(time.Hour - early - time.Second) }, []string{"a/x"}, 6},
		{"then", func() { e.clock.Advance(time.Second); user.held.Expires = e.clock.Now().Add(time.Hour) }, []string{"a/x"}, 7},
	} {
		step.do()
		mustToken(t, o, user, step.scopes...)
		if n := e.tokenRequests(); n != step.requests {
			t.Errorf("%s: %d requests so far, want %d", step.name, n, step.requests)
		}
	}
}

func TestATokenThatTheAPIRefusedIsNotUsedAgain(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	first := mustToken(t, o, user, "a/x")
	o.Refused(user, APIToken{}, "a/x")
	mustToken(t, o, user, "a/x")
	if n := e.tokenRequests(); n != 1 {
		t.Errorf("the refusal of another token evicted this one: %d requests", n)
	}
	o.Refused(user, first, "a/x")
	mustToken(t, o, user, "a/x")
	if n := e.tokenRequests(); n != 2 {
		t.Errorf("%d requests after the token was refused, want 2", n)
	}
}

func TestCallsThatCoincideExchangeAndRenewOnce(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	user.held.AccessToken = AccessToken{}
	release := make(chan struct{})
	counted := e.respondAfter(release)
	var callers sync.WaitGroup
	for i := range 16 {
		waits := clocktest.NewWaiting(t.Context())
		callers.Go(func() {
			if token, err := o.Token(waits, user, []string{"a/x", "b/x"}[i%2]); err != nil || token.IsZero() {
				t.Errorf("no token: %v", err)
			}
		})
		<-waits.Begun
	}
	close(release)
	callers.Wait()
	if n := counted.Load(); n != 3 || user.renewals != 1 {
		t.Errorf("%d requests and %d renewals, want 3 and 1", n, user.renewals)
	}
}

func TestACallerThatGivesUpDoesNotEndTheExchangeOfOthers(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	release := make(chan struct{})
	counted := e.respondAfter(release)
	impatient, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() { _, err := o.Token(impatient, user, "a/x"); gaveUp <- err }()
	clocktest.Eventually(t, "Entra is asked", 10*time.Second, func() bool { return counted.Load() > 0 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient caller got %v", err)
	}
	close(release)
	mustToken(t, o, user, "a/x")
	if n := counted.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAnAssertionPastItsTimeIsRenewedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*tenant, *keptSignIn)
		renewals int
		kind     Kind // empty: a token
	}{
		"still good":            {func(*tenant, *keptSignIn) {}, 0, ""},
		"about to end":          {func(e *tenant, k *keptSignIn) { k.held.Expires = e.clock.Now().Add(early) }, 1, ""},
		"none":                  {func(_ *tenant, k *keptSignIn) { k.held.AccessToken = AccessToken{} }, 1, ""},
		"past by Entra's clock": {func(e *tenant, _ *keptSignIn) { e.refuseFirst("invalid_grant", assertionExpired) }, 1, ""},
		"renewed, and past by Entra's clock all the same": {func(e *tenant, k *keptSignIn) {
			k.held.Expires = e.clock.Now().Add(early)
			e.set(func() {
				e.respond = func(w http.ResponseWriter, r *http.Request) {
					if r.PostFormValue("grant_type") == "refresh_token" {
						answerJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": "t", "expires_in": 3600, "refresh_token": "refresh-2"})
						return
					}
					refuse(w, "invalid_grant", assertionExpired)
				}
			})
		}, 1, SignInOver},
		"cannot be renewed": {func(e *tenant, k *keptSignIn) {
			k.held.RefreshToken = RefreshToken{}
			e.refuseFirst("invalid_grant", assertionExpired)
		}, 0, SignInOver},
		"nothing to present":        {func(_ *tenant, k *keptSignIn) { k.held = Assertion{} }, 0, SignInOver},
		"the tokens cannot be read": {func(_ *tenant, k *keptSignIn) { k.unread = errors.New("storage is away") }, 0, Unavailable},
		"past, and the sign-in is over": {func(e *tenant, _ *keptSignIn) {
			e.refuses("invalid_grant", 50173)
			e.refuseFirst("invalid_grant", assertionExpired)
		}, 0, SignInOver},
		"another refusal": {func(e *tenant, _ *keptSignIn) { e.refuseFirst("invalid_grant", 50173) }, 0, SignInOver},
		"another user's tokens": {func(e *tenant, k *keptSignIn) {
			k.held.AccessToken, k.foreign = AccessToken{}, errors.New("another user's")
		}, 1, Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			o, user := NewOnBehalfOf(e.client()), e.signedIn()
			test.change(e, user)
			token, err := o.Token(context.Background(), user, "a/x")
			if test.kind == "" && (err != nil || token.IsZero()) {
				t.Errorf("no token: %v", err)
			}
			if test.kind != "" && (err == nil || AsError(err).Kind != test.kind) {
				t.Errorf("got %v, want %s", err, test.kind)
			}
			if user.renewals != test.renewals {
				t.Errorf("%d renewals, want %d", user.renewals, test.renewals)
			}
		})
	}
}

func TestAClaimsChallengeIsKeptForTheNextSignIn(t *testing.T) {
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	e.refuses("interaction_required", 50076, map[string]any{"claims": challenge})
	if _, err := o.Token(context.Background(), user, "a/x"); err == nil || len(user.challenges) != 1 || user.challenges[0] != challenge {
		t.Errorf("kept %v, error %v", user.challenges, err)
	}
}
