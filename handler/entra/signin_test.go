package entra

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sim "entramcp/dev/tenant"
)

func TestSignInRedeemsCodeAndVerifiesWhoSignedIn(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	s := e.signedInAs(c, sim.Alice)
	if s.Claims.TenantID != testTenant || s.Claims.ObjectID == "" || s.Claims.Name != "Alice Ames" ||
		s.Claims.Username != sim.Alice || len(s.Claims.Roles) != 3 || s.Claims.GroupsOverage {
		t.Errorf("claims are %+v", s.Claims)
	}
	if life := s.AccessTokenExpires.Sub(e.clock.Now()); s.RefreshToken.IsZero() || s.AccessToken.IsZero() || life < time.Hour || life > 90*time.Minute {
		t.Errorf("a token is missing, or lives for %s", life)
	}
	form, header := e.lastRequest()
	if form.Get("scope") != "openid profile email offline_access "+testScope || form.Get("client_id") != testClient {
		t.Errorf("request is %v", form)
	}
	if len(header.Get("client-request-id")) != 36 || header.Get("return-client-request-id") != "true" {
		t.Errorf("request id headers are missing")
	}
}

// A token for Microsoft Graph, which no tool can use, would be kept with each grant.
func TestWithoutAnAPIOfOurOwnNoAccessTokenIsKept(t *testing.T) {
	e := newTenant(t)
	c := e.client(func(cfg *Config) { cfg.APIScope = "" })
	s := e.signedInAs(c, sim.Alice)
	renewed, err := c.Refresh(t.Context(), s.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	for when, s := range map[string]SignIn{"signed in": s, "renewed": renewed} {
		if !s.AccessToken.IsZero() || !s.AccessTokenExpires.IsZero() || s.RefreshToken.IsZero() {
			t.Errorf("%s: an access token is kept, or the refresh token is not", when)
		}
	}
}

func TestWhoSignedInStaysOutOfTheLog(t *testing.T) {
	e := newTenant(t)
	s := e.signedInAs(e.client(), sim.Alice)
	got := s.LogValue().String() + s.Claims.LogValue().String()
	if !strings.Contains(got, testScope) || !strings.Contains(got, testTenant) || !strings.Contains(got, "Mcp.") && !strings.Contains(got, s.Claims.Roles[0]) {
		t.Errorf("the log says %s", got)
	}
	for _, private := range []string{"Alice", sim.Alice, s.Claims.ObjectID, s.AccessToken.Reveal(), s.RefreshToken.Reveal()} {
		if strings.Contains(got, private) {
			t.Errorf("the log says %s", got)
		}
	}
}

func TestASecondFactorIsAPartOfTheSignIn(t *testing.T) {
	e := newTenant(t)
	if s := e.signedInAs(e.client(), sim.Frank); s.Claims.Username != sim.Frank {
		t.Errorf("claims are %+v", s.Claims)
	}
}

func TestAuthorizeURLHoldsNothingEntraRefuses(t *testing.T) {
	c := newTenant(t).client()
	address, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "st", Nonce: "no", CodeChallenge: "ch"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(u.Path, "/"+testTenant+"/oauth2/v2.0/authorize") {
		t.Errorf("path is %s", u.Path)
	}
	want := url.Values{
		"client_id": {testClient}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {testCallback},
		"scope": {"openid profile email offline_access " + testScope}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {"ch"}, "code_challenge_method": {"S256"},
	}
	if got := u.Query().Encode(); got != want.Encode() {
		t.Errorf("query is\n%s, want\n%s", got, want.Encode())
	}

	address, _ = c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "st", Nonce: "no", CodeChallenge: "ch", Claims: `{"id_token":{}}`, LoginHint: "ada", Prompt: "login", DomainHint: "contoso.example", Scopes: []string{"a/x", "a/y"}})
	u, _ = url.Parse(address)
	for name, value := range map[string]string{"claims": `{"id_token":{}}`, "login_hint": "ada", "prompt": "login", "domain_hint": "contoso.example", "scope": "a/x a/y"} {
		if u.Query().Get(name) != value {
			t.Errorf("%s is %q in %s", name, u.Query().Get(name), address)
		}
	}
}

func TestEntraNeverGetsWhatItRefuses(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	s := e.signedInAs(c, sim.Alice)
	if _, err := c.Refresh(context.Background(), s.RefreshToken); err != nil {
		t.Fatal(err)
	}
	for _, seen := range e.Requests() {
		if seen.Form.Has("resource") || seen.Form.Has("prompt") {
			t.Errorf("%s got %v", seen.Endpoint, seen.Form)
		}
	}
}

func TestSignInRefusalsAreExplained(t *testing.T) {
	for name, test := range map[string]struct {
		user string
		app  func(*sim.App)
		kind Kind
		code int
	}{
		"disabled":     {sim.Dave, func(*sim.App) {}, NotAllowed, 50057},
		"not assigned": {sim.Erin, func(a *sim.App) { a.AssignmentRequired = true }, NotAllowed, 50105},
		"admin consent": {sim.Bob, func(a *sim.App) {
			a.AdminConsented, a.AdminOnly = false, []string{testScope}
		}, ConsentNeeded, 90094},
		"approval requested": {sim.Bob, func(a *sim.App) {
			a.AdminConsented, a.AdminOnly, a.ConsentWorkflow = false, []string{testScope}, true
		}, ConsentNeeded, 90095},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t, test.app)
			c := e.client()
			q, _ := e.redirected(c, test.user, "")
			f := c.FromRedirect(q)
			if f == nil || f.Kind != test.kind || f.AADSTS != test.code || f.CorrelationID == "" || f.TraceID == "" {
				t.Fatalf("error is %v", f)
			}
			if consent := f.Kind == ConsentNeeded; consent != strings.Contains(f.ConsentURL, "/v2.0/adminconsent?") || consent != f.AdminOnly {
				t.Errorf("consent link is %q, for administrators only: %t", f.ConsentURL, f.AdminOnly)
			}
		})
	}
}

func TestRenewalAfterTheWorldHasChanged(t *testing.T) {
	const user = sim.Bob
	change := func(e *tenant, edit func(*sim.User)) error { return e.Change(user, edit) }
	for name, test := range map[string]struct {
		change func(*tenant) error
		kind   Kind // empty: renewed
		ends   bool
	}{
		"nothing":           {func(*tenant) error { return nil }, "", false},
		"disabled":          {func(e *tenant) error { return change(e, func(u *sim.User) { u.Disabled = true }) }, NotAllowed, true},
		"sessions revoked":  {func(e *tenant) error { return e.RevokeSessions(user) }, SignInOver, true},
		"consent withdrawn": {func(e *tenant) error { return e.WithdrawConsent(user) }, ConsentNeeded, true},
		"second factor":     {func(e *tenant) error { return change(e, func(u *sim.User) { u.MFA = true }) }, InteractionNeeded, true},
		"another's address": {func(e *tenant) error { return change(e, func(u *sim.User) { u.BlockedFromServers = true }) }, PolicyBlocked, true},
		"secret replaced": {func(e *tenant) error {
			return e.Reconfigure(testClient, func(a *sim.App) { a.Secrets = []sim.Secret{{Value: "another"}} })
		}, Misconfigured, false},
		"secret expired": {func(e *tenant) error {
			return e.Reconfigure(testClient, func(a *sim.App) {
				a.Secrets = []sim.Secret{{Value: testSecret, Expires: e.clock.Now().Add(-time.Hour)}}
			})
		}, Misconfigured, false},
		"throttled": {func(e *tenant) error { e.Throttle(1, 7*time.Second); return nil }, Unavailable, false},
		"outage":    {func(e *tenant) error { e.Outage(true); return nil }, Unavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t, consenting)
			c := e.client()
			s := e.signedInAs(c, user)
			e.must(test.change(e))
			renewed, err := c.Refresh(context.Background(), s.RefreshToken)
			if test.kind == "" {
				if err != nil || renewed.Claims == nil || renewed.Claims.ObjectID != s.Claims.ObjectID || renewed.RefreshToken.IsZero() {
					t.Errorf("got %v, %v", renewed.Claims, err)
				}
				return
			}
			if err == nil {
				t.Fatal("the renewal succeeded")
			}
			f := AsError(err)
			if f.Kind != test.kind || f.EndsGrant() != test.ends {
				t.Errorf("error is %v, want %s", f, test.kind)
			}
			if name == "throttled" && f.RetryAfter != 7*time.Second {
				t.Errorf("Retry-After is %s", f.RetryAfter)
			}
			if name == "secret expired" && !strings.Contains(f.NextStep, "ENTRA_CLIENT_SECRET_EXPIRES") {
				t.Errorf("next step is %q", f.NextStep)
			}
		})
	}
}

func TestAClaimsChallengeEndsInASignInThatCarriesIt(t *testing.T) {
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["a"]}}}`
	e := newTenant(t)
	c := e.client()
	s := e.signedInAs(c, sim.Bob)
	e.must(e.Change(sim.Bob, func(u *sim.User) { u.Challenge = challenge }))
	_, err := c.Refresh(context.Background(), s.RefreshToken)
	f := AsError(err)
	if f.Kind != InteractionNeeded || f.Claims != challenge {
		t.Fatalf("error is %v with claims %q", f, f.Claims)
	}
	q, verifier := e.redirected(c, sim.Bob, f.Claims)
	again, err := c.Exchange(context.Background(), Callback{Code: Code{codeIn(q)}, Verifier: verifier, Nonce: testNonce})
	e.must(err)
	if _, err := c.Refresh(context.Background(), again.RefreshToken); err != nil {
		t.Errorf("the sign-in that carried the claims cannot be renewed: %v", err)
	}
}

// respondTokens answers with these members beside an access token.
func (e *tenant) respondTokens(more map[string]any) {
	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			body := map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 3600}
			maps.Copy(body, more)
			answerJSON(w, 200, body)
		}
	})
}

func TestRefreshKeepsTheOldTokenWhenNoneComes(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	e.respondTokens(nil)
	s, err := c.Refresh(context.Background(), refreshToken("refresh-1"))
	if err != nil || s.RefreshToken.Reveal() != "refresh-1" || s.Claims != nil {
		t.Errorf("refresh token %q, claims %v: %v", s.RefreshToken.Reveal(), s.Claims, err)
	}
	e.respondTokens(map[string]any{"refresh_token": "refresh-2"})
	if s, err = c.Refresh(context.Background(), refreshToken("refresh-1")); err != nil || s.RefreshToken.Reveal() != "refresh-2" {
		t.Errorf("refresh token %q: %v", s.RefreshToken.Reveal(), err)
	}
}

func TestExpiresInMayBeAnyNumber(t *testing.T) {
	for name, test := range map[string]struct {
		value any
		want  time.Duration // 0: refused
	}{
		"number": {3599, 3599 * time.Second}, "string": {"3599", 3599 * time.Second}, "with a point": {3599.0, 3599 * time.Second},
		"string with a point": {"3599.0", 3599 * time.Second}, "zero": {0, 0}, "negative": {-1, 0}, "word": {"soon", 0}, "none": {nil, 0}, "endless": {1e12, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTenant(t)
			e.respondTokens(map[string]any{"expires_in": test.value})
			s, err := e.client().Refresh(context.Background(), refreshToken("refresh-1"))
			if (err == nil) != (test.want > 0) || (err == nil && !s.AccessTokenExpires.Equal(e.clock.Now().Add(test.want))) {
				t.Errorf("expires %s, %v", s.AccessTokenExpires, err)
			}
		})
	}
}

func TestASignInWithoutARefreshTokenIsSaidInTheLog(t *testing.T) {
	e := newTenant(t)
	var log bytes.Buffer
	c, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	e.must(err)
	if s := e.signedInAs(c, sim.Alice); s.RefreshToken.IsZero() || strings.Contains(log.String(), "offline_access") {
		t.Errorf("with a refresh token the log says %s", &log)
	}
	callback := e.callback(c, sim.Alice)
	id := ""
	e.Forge(func(map[string]any) {})
	e.set(func() {
		e.respond = func(w http.ResponseWriter, r *http.Request) {
			id = e.tokensWithoutRefresh(w, r)
		}
	})
	s, err := c.Exchange(context.Background(), callback)
	if err != nil || id == "" || !s.RefreshToken.IsZero() || !strings.Contains(log.String(), "offline_access") {
		t.Errorf("refresh token %t, %v; the log says %s", !s.RefreshToken.IsZero(), err, &log)
	}
}

// The ID token is of the version of the endpoint; that of our API's is the manifest's.
func TestVersion1TokensForOurAPIAreWarnedOfOnce(t *testing.T) {
	for version, want := range map[int]struct {
		warnings int
		seen     string
	}{1: {1, "1.0"}, 2: {0, "2.0"}} {
		e := newTenant(t, func(a *sim.App) { a.TokenVersion = version })
		var log bytes.Buffer
		c, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
		e.must(err)
		e.signedInAs(c, sim.Alice)
		e.signedInAs(c, sim.Bob)
		if n := strings.Count(log.String(), "version 1 access tokens"); n != want.warnings || c.APITokenVersion() != want.seen {
			t.Errorf("version %d: %d warnings, seen %q", version, n, c.APITokenVersion())
		}
	}
}

func TestClocksThatAreApartAreSaidOnce(t *testing.T) {
	e := newTenant(t)
	var log bytes.Buffer
	c, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	e.must(err)
	e.SkewClock(30 * time.Second)
	e.signedInAs(c, sim.Alice)
	if strings.Contains(log.String(), "clock") {
		t.Errorf("within the leeway the log says %s", &log)
	}
	e.SkewClock(10 * time.Minute) // Entra dates its tokens five minutes back
	for range 2 {
		if f := e.exchangeError(c); f.EndsGrant() || !strings.Contains(f.NextStep, "clock") || !strings.Contains(f.Error(), "-10m0s ahead") {
			t.Errorf("got %v", f)
		}
	}
	said := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "clock and Entra's are apart"); n != want {
			t.Errorf("said %d times: %s", n, &log)
		}
	}
	said(1)
	e.SkewClock(0)
	e.signedInAs(c, sim.Alice)
	e.SkewClock(10 * time.Minute)
	_ = e.exchangeError(c)
	said(2)
}
