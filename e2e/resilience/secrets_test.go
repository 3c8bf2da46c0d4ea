package resilience

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/e2e/stack/faultproxy"
	"entramcp/handler/clocktest"
	"entramcp/handler/store/storetest"
)

// TestNothingSecretIsEverLogged goes through sign-ins, calls, attacks and
// outages at the most talkative level, and then looks for everything that was
// secret in everything that was logged.
func TestNothingSecretIsEverLogged(t *testing.T) {
	t.Parallel()
	w := &witness{}
	tables := startStorage(t)
	s := stack.Start(t, stack.Options{Instances: 2, Tables: tables.connection, Between: w.between,
		Env: map[string]string{"LOG_LEVEL": "debug", "MASTER_KEY": firstKey, "TIMEOUT_SECONDS": timeout}})
	watched := func() *client {
		c := newClient(t, s)
		c.HTTP.Transport, c.browser = w, c.browser.Through(w)
		return c
	}
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	public, confidential := watched().registered("none"), watched().registered("client_secret_post")
	got, theirs := public.everyday(t), confidential.everyday(t)
	got = public.attacks(t, s, got, theirs)

	s.Tenant.Outage(true)
	public.refresh(got.refresh)
	s.Tenant.Outage(false)
	tables.Set(faultproxy.ResetAnswers)
	public.refresh(got.refresh)
	confidential.introspect(theirs.access)
	tables.Set(faultproxy.None)
	got = public.refresh(got.refresh).tokens(t)
	if err := s.Tenant.Change(stack.Alice, func(u *tenant.User) { u.Disabled = true }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // a younger generation is not rotated
	if a := public.refresh(got.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("a disabled user's refresh: %d %s", a.status, a.body)
	}
	rotation, err := s.Command(t, nil, "keys", "rotate").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, rotation)
	}
	locked := s.Aside(t, map[string]string{"MASTER_KEY": secondKey})
	clocktest.Eventually(t, "the instance with the wrong key listens", patience, func() bool { return listening(locked) })
	public.at(locked).refresh(got.refresh)
	public.at(locked).call(got.access)

	for _, name := range []string{"code", "state", "nonce", "code_verifier", "client_secret", "assertion",
		"access_token", "refresh_token", "id_token", "token", "request", "cookie"} {
		if !slices.Contains(w.names(), name) {
			t.Errorf("no %s was seen, so nothing is proved about it", name)
		}
	}
	if _, found := w.in("a log that holds " + url.QueryEscape(got.access)); !found {
		t.Error("the search finds nothing")
	}
	_, account, _ := strings.Cut(storetest.Azurite(t), "AccountKey=")
	account, _, _ = strings.Cut(account, ";")
	w.note("MASTER_KEY", firstKey)
	w.note("MASTER_KEY", secondKey)
	w.note("account key", account)
	for _, log := range []string{s.Log(), s.Instances[1].Log(), locked.Log(), string(rotation)} {
		for line := range strings.Lines(log) {
			if name, found := w.in(line); found || strings.Contains(line, stack.ClientSecret) {
				t.Errorf("the log holds a %s: %s", name, line)
			}
		}
	}
	for _, path := range []string{"/register", "/authorize", "/consent", "/auth/callback", "/token", "/revoke", "/introspect", "/mcp"} {
		if !strings.Contains(s.Log()+s.Instances[1].Log(), `"path":"`+path+`"`) {
			t.Errorf("nothing was logged about %s", path)
		}
	}
}

// TestEntrasTokensNeverReachAClient: what the tenant gives the server stays
// there, codes and ID tokens included.
func TestEntrasTokensNeverReachAClient(t *testing.T) {
	t.Parallel()
	behind, before := &witness{}, &witness{}
	s := stack.Start(t, stack.Options{Instances: 1, Between: behind.between})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, s)
	c.HTTP.Transport, c.browser = before, c.browser.Through(before)
	c.registered("none").everyday(t)
	for _, name := range []string{"access_token", "id_token", "refresh_token"} {
		if len(behind.seen[name]) == 0 {
			t.Errorf("the tenant gave no %s", name)
		}
		for value := range behind.seen[name] {
			if strings.Contains(before.told.String(), value) {
				t.Errorf("an %s of Entra's reached the client", name)
			}
		}
	}
}

// everyday is what clients do.
func (c *client) everyday(t *testing.T) tokens {
	got := c.redeem(c.signIn()).tokens(t)
	for _, tool := range []string{"identity", "identity"} {
		if a := c.tool(got.access, tool, `{}`); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", tool, a.status, a.body)
		}
	}
	c.introspect(got.access)
	c.revoke(c.redeem(c.signIn()).tokens(t).refresh)
	return c.refresh(got.refresh).tokens(t)
}

// attacks are what clients should not do. Each is refused, and most are logged.
func (c *client) attacks(t *testing.T, s *stack.Stack, mine, theirs tokens) tokens {
	code, verifier := c.signIn()
	impostor := *c
	impostor.Secret = "a secret that is made up, and wrong"
	refused := []answer{
		c.redeem(code, verifier+verifier), // not the verifier
		impostor.redeem(code, verifier),
		c.said(c.Form(c.t.Context(), c.Issuer+"/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier},
			"redirect_uri": {"http://127.0.0.1:8977/elsewhere"}})),
		c.refresh(theirs.refresh), c.revoke(theirs.access), c.refresh(mine.access), c.redeem(mine.refresh, verifier),
		c.call(mine.refresh), c.call(mine.access + "x"), c.get("/mcp?access_token=" + mine.access),
		c.said(c.Form(c.t.Context(), c.Issuer+"/token", url.Values{"grant_type": {"password"}, "username": {"ada"}, "code": {code}})),
	}
	u := &underway{client: c}
	browser, callback := u.atTheDoor(t)
	stranger := stack.NewBrowser(stack.Bob)
	for _, b := range []*stack.Browser{stranger, browser, browser} { // without its cookie, rightly, and again
		open(t, b.Through(c.HTTP.Transport), callback)
	}
	p, _, _ := open(t, stranger, callback+"&error=access_denied&error_description=made+up")
	if p.Status != http.StatusBadRequest {
		t.Errorf("a made-up callback: %d", p.Status)
	}
	replayed, verifier := c.signIn()
	c.redeem(replayed, verifier).tokens(t)
	refused = append(refused, c.redeem(replayed, verifier+"x"))
	for k, a := range refused {
		if a.status < 400 || a.status > 499 {
			t.Errorf("attack %d got %d %s", k, a.status, a.body)
		}
	}
	return mine
}
