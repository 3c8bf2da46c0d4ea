package entra

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	sim "entramcp/dev/tenant"
	"entramcp/handler/oauth"
)

const (
	robot   = "0b071000-0000-4000-8000-00000000000b" // an application that asks for tokens
	copilot = "ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b" // Microsoft's token store
)

func (e *tenant) callers(change ...func(*CallerPolicy)) *Callers {
	policy := CallerPolicy{AppRole: InvokeRole, Clients: []string{copilot}, Audience: "api://" + testClient + "/.default"}
	for _, f := range change {
		f(&policy)
	}
	return NewCallers(e.client(), policy)
}

func (e *tenant) issue(c sim.CallerToken) string {
	e.t.Helper()
	token, err := e.Issue(c)
	e.must(err)
	return token
}

func byRobot(edit func(map[string]any)) sim.CallerToken {
	return sim.CallerToken{App: robot, Roles: []string{InvokeRole}, Edit: edit}
}

func forAlice(edit func(map[string]any)) sim.CallerToken {
	return sim.CallerToken{App: copilot, User: sim.Alice, Scopes: []string{sim.DefaultScope}, Edit: edit}
}

func with(name string, value any) func(map[string]any) {
	return func(c map[string]any) {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
}

func TestEntrasOwnTokensSayWhoCalls(t *testing.T) {
	for name, test := range map[string]struct {
		token  sim.CallerToken
		app    func(*sim.App)
		kind   CallerKind
		agent  bool
		scopes []string
	}{
		"application":                    {byRobot(nil), nil, ApplicationCaller, false, nil},
		"application, idtyp not issued":  {byRobot(nil), func(a *sim.App) { a.WithoutIDType = true }, ApplicationCaller, false, nil},
		"application with a secret":      {byRobot(with("azpacr", "1")), nil, ApplicationCaller, false, nil},
		"application, one role as text":  {byRobot(with("roles", InvokeRole)), nil, ApplicationCaller, false, nil},
		"agent on its own":               {sim.CallerToken{App: robot, Agent: true, Blueprint: "b1", Roles: []string{InvokeRole}}, nil, AgentCaller, true, nil},
		"agent on its own, scp is a /":   {sim.CallerToken{App: robot, Agent: true, Roles: []string{InvokeRole}, Edit: with("scp", "/")}, nil, AgentCaller, true, nil},
		"agent, its facet as a number":   {sim.CallerToken{App: robot, Agent: true, Roles: []string{InvokeRole}, Edit: with("xms_sub_fct", 11)}, nil, AgentCaller, true, nil},
		"user":                           {forAlice(nil), nil, UserCaller, false, []string{sim.DefaultScope}},
		"user, idtyp not issued":         {forAlice(nil), func(a *sim.App) { a.WithoutIDType = true }, UserCaller, false, []string{sim.DefaultScope}},
		"agent on behalf of a user":      {sim.CallerToken{App: copilot, Agent: true, User: sim.Alice, Scopes: []string{sim.DefaultScope}}, nil, UserCaller, true, []string{sim.DefaultScope}},
		"agent through its user account": {sim.CallerToken{App: copilot, Agent: true, AgentUser: true, User: sim.Bob, Scopes: []string{sim.DefaultScope}}, nil, AgentCaller, true, []string{sim.DefaultScope}},
	} {
		t.Run(name, func(t *testing.T) {
			var edits []func(*sim.App)
			if test.app != nil {
				edits = append(edits, test.app)
			}
			e := newTenant(t, edits...)
			token := e.issue(test.token)
			if !LooksLikeEntra(token) {
				t.Error("it does not look like one of Entra's")
			}
			got, err := e.callers().Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != test.kind || got.Agent != test.agent || !slices.Equal(got.Scopes, test.scopes) || got.ByItself() != (test.scopes == nil) {
				t.Errorf("caller is %+v", got)
			}
			if got.TenantID != testTenant || !isGUID(got.ObjectID) || got.AppID != test.token.App || got.TokenID == "" || got.Expires.Before(e.clock.Now()) {
				t.Errorf("caller is %+v", got)
			}
			if got.ByItself() != got.Token.IsZero() {
				t.Error("only a user's token is an assertion")
			}
		})
	}
}

// TestEntrasOwnTokensAreRefused is the table of what Entra signs and does not
// admit anybody.
func TestEntrasOwnTokensAreRefused(t *testing.T) {
	at := func(name string, d time.Duration) func(e *tenant) sim.CallerToken {
		return func(e *tenant) sim.CallerToken { return byRobot(with(name, e.clock.Now().Add(d).Unix())) }
	}
	robotWith := func(name string, value any) func(*tenant) sim.CallerToken {
		return func(*tenant) sim.CallerToken { return byRobot(with(name, value)) }
	}
	aliceWith := func(name string, value any) func(*tenant) sim.CallerToken {
		return func(*tenant) sim.CallerToken { return forAlice(with(name, value)) }
	}
	for name, test := range map[string]struct {
		token  func(*tenant) sim.CallerToken
		app    func(*sim.App)
		policy func(*CallerPolicy)
		reason string
		says   string
	}{
		"application without a role":            {token: func(*tenant) sim.CallerToken { return sim.CallerToken{App: robot} }, reason: ReasonNoRole, says: "app role Mcp.Invoke"},
		"application with another role":         {token: func(*tenant) sim.CallerToken { return sim.CallerToken{App: robot, Roles: []string{sim.ManageRole}} }, reason: ReasonNoRole, says: "24 hours"},
		"agent without a role":                  {token: func(*tenant) sim.CallerToken { return sim.CallerToken{App: robot, Agent: true} }, reason: ReasonNoRole, says: "Mcp.Invoke"},
		"applications are off":                  {token: robotWith("x", 1), policy: func(p *CallerPolicy) { p.AppRole = "" }, reason: ReasonAppsOff, says: "ENTRA_APP_CALLERS"},
		"scp beside idtyp app":                  {token: robotWith("scp", "mcp.access"), reason: ReasonContradictory},
		"idtyp user without scp":                {token: robotWith("idtyp", "user"), reason: ReasonContradictory},
		"idtyp unheard of":                      {token: robotWith("idtyp", "device"), reason: ReasonContradictory},
		"version 1":                             {token: robotWith("x", 1), app: func(a *sim.App) { a.TokenVersion = 1 }, reason: ReasonVersion1, says: "requestedAccessTokenVersion to 2"},
		"version 1, its issuer under version 2": {token: robotWith("iss", "https://sts.windows.net/"+testTenant+"/"), reason: ReasonVersion1},
		"appid beside azp":                      {token: robotWith("appid", robot), reason: ReasonVersion1},
		"version 3":                             {token: robotWith("ver", "3.0"), reason: ReasonMalformed},
		"another tenant":                        {token: robotWith("tid", otherTenant), reason: ReasonIssuer},
		"another issuer":                        {token: robotWith("iss", "https://login.microsoftonline.com/"+testTenant+"/v2.0"), reason: ReasonIssuer},
		"tid that is not a GUID":                {token: robotWith("tid", "../common"), reason: ReasonMalformed},
		"oid missing":                           {token: robotWith("oid", nil), reason: ReasonMalformed},
		"audience is Graph":                     {token: robotWith("aud", "https://graph.microsoft.com"), reason: ReasonAudience, says: "api://" + testClient + "/.default"},
		"audience is the App ID URI":            {token: robotWith("aud", "api://"+testClient), reason: ReasonAudience},
		"audience with others":                  {token: robotWith("aud", []string{testClient, robot}), reason: ReasonAudience},
		"audience missing":                      {token: robotWith("aud", nil), reason: ReasonAudience},
		"public client":                         {token: func(*tenant) sim.CallerToken { c := byRobot(nil); c.Public = true; return c }, reason: ReasonPublicClient},
		"azpacr missing":                        {token: robotWith("azpacr", nil), reason: ReasonPublicClient},
		"azp missing":                           {token: robotWith("azp", nil), reason: ReasonPublicClient},
		"an ID token":                           {token: aliceWith("nonce", "n"), reason: ReasonIDToken, says: "ID token"},
		"azp and azpacr missing": {token: func(*tenant) sim.CallerToken {
			return forAlice(func(c map[string]any) { delete(c, "azp"); delete(c, "azpacr") })
		}, reason: ReasonIDToken},
		"our own upstream token":  {token: aliceWith("azp", strings.ToUpper(testClient)), reason: ReasonOwnSignIn},
		"expired":                 {token: at("exp", 0), reason: ReasonExpired},
		"expired beyond leeway":   {token: at("exp", -2*time.Minute), reason: ReasonExpired},
		"no expiry":               {token: robotWith("exp", nil), reason: ReasonMalformed},
		"no issue time":           {token: robotWith("iat", nil), reason: ReasonMalformed},
		"not yet valid":           {token: at("nbf", 2*time.Minute), reason: ReasonExpired},
		"issued in the future":    {token: at("iat", 2*time.Minute), reason: ReasonExpired},
		"user of an unlisted app": {token: func(*tenant) sim.CallerToken { c := forAlice(nil); c.App = robot; return c }, reason: ReasonUnlisted, says: "ENTRA_CLIENTS"},
		"no app is listed":        {token: func(*tenant) sim.CallerToken { return forAlice(nil) }, policy: func(p *CallerPolicy) { p.Clients = nil }, reason: ReasonUnlisted},
		"user with the role": {token: func(*tenant) sim.CallerToken {
			return sim.CallerToken{App: robot, User: sim.Alice, Scopes: []string{sim.DefaultScope}, Edit: with("roles", []string{InvokeRole})}
		}, reason: ReasonUnlisted},
		"user without scp":                   {token: aliceWith("scp", nil), reason: ReasonContradictory},
		"user without scp, idtyp not issued": {token: aliceWith("scp", nil), app: func(a *sim.App) { a.WithoutIDType = true }, reason: ReasonContradictory},
		"user without scp and name, idtyp not issued": {token: func(*tenant) sim.CallerToken {
			return forAlice(func(c map[string]any) { delete(c, "scp"); delete(c, "preferred_username") })
		}, app: func(a *sim.App) { a.WithoutIDType = true }, reason: ReasonContradictory},
		"user without scp and session, idtyp not issued": {token: func(*tenant) sim.CallerToken {
			return forAlice(func(c map[string]any) { delete(c, "scp"); delete(c, "sid") })
		}, app: func(a *sim.App) { a.WithoutIDType = true }, reason: ReasonContradictory},
		"user whose scp is a /": {token: aliceWith("scp", "/"), app: func(a *sim.App) { a.WithoutIDType = true }, reason: ReasonContradictory},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var edits []func(*sim.App)
			if test.app != nil {
				edits = append(edits, test.app)
			}
			e := newTenant(t, edits...)
			var changes []func(*CallerPolicy)
			if test.policy != nil {
				changes = append(changes, test.policy)
			}
			_, err := e.callers(changes...).Verify(t.Context(), e.issue(test.token(e)))
			var r *Refusal
			if !errors.As(err, &r) || r.Reason != test.reason || !strings.Contains(r.Message, test.says) {
				t.Fatalf("got %v", err)
			}
			status := http.StatusUnauthorized
			if test.reason == ReasonNoRole {
				status = http.StatusForbidden
			}
			if got := r.OAuth(); got.Status() != status || oauth.Describe(got.Description) != got.Description {
				t.Errorf("answered with %d %q", got.Status(), got.Description)
			}
		})
	}
}

func TestTokensThatEntraDidNotSignAreRefused(t *testing.T) {
	e := newTenant(t)
	good := e.issue(byRobot(nil))
	parts := strings.Split(good, ".")
	claims := jwt.MapClaims{}
	_, _, err := jwt.NewParser().ParseUnverified(good, claims)
	e.must(err)
	forge := func(method jwt.SigningMethod, kid string, key any) string {
		token := jwt.NewWithClaims(method, maps.Clone(claims))
		token.Header["kid"] = kid
		s, err := token.SignedString(key)
		e.must(err)
		return s
	}
	kid := func() string {
		token, _, _ := jwt.NewParser().ParseUnverified(good, jwt.MapClaims{})
		return token.Header["kid"].(string)
	}()
	c := e.callers()
	for name, raw := range map[string]string{
		"another key":        forge(jwt.SigningMethodRS256, kid, signingKeys()[0]),
		"unknown key":        forge(jwt.SigningMethodRS256, "key-9", signingKeys()[0]),
		"no key id":          forge(jwt.SigningMethodRS256, "", signingKeys()[0]),
		"RS512":              forge(jwt.SigningMethodRS512, kid, sim.SharedKey()),
		"PS256":              forge(jwt.SigningMethodPS256, kid, sim.SharedKey()),
		"none":               forge(jwt.SigningMethodNone, kid, jwt.UnsafeAllowNoneSignatureType),
		"HS256":              forge(jwt.SigningMethodHS256, kid, sim.SharedKey().N.Bytes()),
		"stripped signature": parts[0] + "." + parts[1] + ".",
		"changed payload":    parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"ver":"2.0"}`)) + "." + parts[2],
		"with a line break":  parts[0] + ".\n" + parts[1] + "." + parts[2],
		"garbage":            "a.b.c",
		"nothing":            "",
		"endless":            strings.Repeat("x", maxCallerToken+1),
	} {
		var r *Refusal
		if _, err := c.Verify(t.Context(), raw); !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Verify(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestTheHeaderTellsEntrasTokensFromOurs(t *testing.T) {
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) + ".e30.x" }
	for text, want := range map[string]bool{
		header(`{"alg":"RS256","typ":"JWT","kid":"k"}`):                   true,
		header(`{"alg":"RS256"}`):                                         true,
		header(`{"alg":"HS256","typ":"at+jwt","kid":"k"}`):                false,
		header(`{"alg":"RS256","typ":"AT+JWT"}`):                          false,
		header(`{"alg":"none"}`):                                          false,
		header(`[]`):                                                      false,
		header(`{"alg":"RS256","x":"` + strings.Repeat("x", 1000) + `"}`): false, // no reason to decode what is no header
		"": false, "x": false, "!.!.!": false, strings.Repeat("e", 2000) + ".x.x": false,
	} {
		if got := LooksLikeEntra(text); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func TestCallersAreOffWhereNeitherKindIsAdmitted(t *testing.T) {
	for _, tt := range []struct {
		policy CallerPolicy
		off    bool
	}{{CallerPolicy{Audience: "api://x/.default"}, true}, {CallerPolicy{AppRole: "Mcp.Invoke"}, false}, {CallerPolicy{Clients: []string{"id"}}, false}} {
		if got := tt.policy.Off(); got != tt.off {
			t.Errorf("%+v: off %v", tt.policy, got)
		}
	}
}

func TestAVerifiedCallerIsRememberedUntilTheTokenEnds(t *testing.T) {
	e := newTenant(t)
	c := e.callers()
	token := e.issue(byRobot(nil))
	first, err := c.Verify(t.Context(), token)
	e.must(err)
	e.set(func() { e.down = true }) // and the signature is not looked at again
	e.must(e.RollKeys(true))
	if again, err := c.Verify(t.Context(), token); err != nil || again.ObjectID != first.ObjectID {
		t.Errorf("got %v", err)
	}
	if _, err := c.VerifyRole(t.Context(), token, sim.ManageRole); err == nil {
		t.Error("a remembered token has every role")
	}
	e.clock.Advance(first.Expires.Sub(e.clock.Now()))
	var r *Refusal
	if _, err := c.Verify(t.Context(), token); !errors.As(err, &r) || r.Reason != ReasonExpired {
		t.Errorf("after its end: %v", err)
	}
}

// Anybody can send a token whose key is not known.
func TestUnknownKeysOfCallersFetchRarely(t *testing.T) {
	e := newTenant(t)
	c := e.callers()
	_, err := c.Verify(t.Context(), e.issue(byRobot(nil)))
	e.must(err)
	e.must(e.RollKeys(false))
	e.HideNewestKey()
	hidden := e.issue(byRobot(nil))
	for range 5 {
		var r *Refusal
		if _, err := c.Verify(t.Context(), hidden); !errors.As(err, &r) || r.Reason != ReasonSignature {
			t.Errorf("got %v", err)
		}
	}
	if n := e.fetched(keysPath); n != 2 {
		t.Errorf("keys were fetched %d times, want 2", n)
	}
	e.ShowKeys()
	e.clock.Advance(unknownKeyEvery)
	e.set(func() { e.down = true })
	for range 5 {
		if _, err := c.Verify(t.Context(), e.issue(byRobot(nil))); err == nil || AsError(err).Kind != Unavailable {
			t.Errorf("while the keys cannot be read: %v", err)
		}
	}
	if n := e.fetched(keysPath); n != 3 {
		t.Errorf("an outage lets strangers fetch: %d", n)
	}
	e.set(func() { e.down = false })
	e.clock.Advance(failedFor)
	if _, err := c.Verify(t.Context(), e.issue(byRobot(nil))); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestForeignTenantsNeedTheAllowList(t *testing.T) {
	for name, test := range map[string]struct {
		allowed []string
		reason  string
	}{
		"listed":     {[]string{testTenant, otherTenant}, ""},
		"every one":  {[]string{"*"}, ""},
		"not listed": {[]string{testTenant}, ReasonTenant},
	} {
		e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.MultiTenant })
		client := e.client(func(c *Config) { c.Tenant, c.AllowedTenants = "organizations", test.allowed })
		c := NewCallers(client, CallerPolicy{AppRole: InvokeRole})
		token := e.issue(byRobot(func(claims map[string]any) {
			claims["tid"], claims["iss"] = otherTenant, e.server.URL+"/"+otherTenant+"/v2.0"
		}))
		_, err := c.Verify(context.Background(), token)
		var r *Refusal
		if test.reason == "" && err != nil || test.reason != "" && (!errors.As(err, &r) || r.Reason != test.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAgentsBlueprintIsForTheLogOnly(t *testing.T) {
	e := newTenant(t)
	var log strings.Builder
	client, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	e.must(err)
	c := NewCallers(client, CallerPolicy{AppRole: InvokeRole, Clients: []string{copilot}})
	token := e.issue(sim.CallerToken{App: robot, Agent: true, Blueprint: copilot})
	for range 2 {
		var r *Refusal
		if _, err := c.Verify(t.Context(), token); !errors.As(err, &r) || r.Reason != ReasonNoRole || r.AppID != robot || r.TenantID != testTenant {
			t.Errorf("got %v", err)
		}
	}
	for _, want := range []string{"caller.kind=agent", "caller.tid=" + testTenant, "caller.azp=" + robot, "caller.uti=", "caller.agent=true", "caller.blueprint=" + copilot} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not say %s once: %s", want, &log)
		}
	}
	log.Reset()
	_, err = c.Verify(t.Context(), e.issue(forAlice(nil)))
	e.must(err)
	if s := log.String(); !strings.Contains(s, "caller.kind=user") || strings.Contains(s, "Alice") || strings.Contains(s, sim.Alice) || strings.Contains(s, "agent") {
		t.Errorf("the log says %s", s)
	}
}

// What a library said of a token is for the log.
func TestTheCauseOfARefusalIsForTheLog(t *testing.T) {
	cause := errors.New("inner")
	if r := refuseToken(ReasonMalformed, cause); !errors.Is(r, cause) || r.Error() != "entra token: malformed: inner" || strings.Contains(r.OAuth().Description, "inner") {
		t.Errorf("%v says %q", r, r.OAuth().Description)
	}
	if r := refuseToken(ReasonIssuer, nil); r.Error() != "entra token: issuer of another tenant" {
		t.Errorf("%v", r)
	}
}

// A token of ours that nobody can judge is no refusal.
func TestACallerIsNoVerdictWhileEntraIsAway(t *testing.T) {
	e := newTenant(t)
	token := e.issue(byRobot(nil))
	e.set(func() { e.down = true })
	if _, err := e.callers().Verify(t.Context(), token); err == nil || AsError(err).Kind != Unavailable {
		t.Errorf("before the first fetch: %v", err)
	}
	for name, ok := range map[string]bool{testTenant: true, otherTenant: false} {
		e := newTenant(t)
		token := e.issue(byRobot(nil))
		e.set(func() {
			e.edits[keysPath] = func(d map[string]any) {
				for _, k := range d["keys"].([]any) {
					k.(map[string]any)["issuer"] = e.server.URL + "/" + name + "/v2.0"
				}
			}
		})
		_, err := e.callers().Verify(t.Context(), token)
		var r *Refusal
		if ok && err != nil || !ok && (!errors.As(err, &r) || r.Reason != ReasonSignature) {
			t.Errorf("a key of %s: %v", name, err)
		}
	}
}

// BenchmarkCaller is what a call with Entra's own token costs beside the rest:
// once for each token, and then for each call with it.
func BenchmarkCaller(b *testing.B) {
	e := newTenant(b)
	c := e.callers()
	token := e.issue(byRobot(nil))
	for name, forget := range map[string]bool{"first call": true, "later calls": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if forget {
					c.verified.Purge()
				}
				if _, err := c.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestOnlyTokensOfEntrasAskWhetherATenantIsAdmitted: asking may read the table, which
// a stranger must not cause with a token of their own making.
func TestOnlyTokensOfEntrasAskWhetherATenantIsAdmitted(t *testing.T) {
	e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.MultiTenant })
	cfg := e.config()
	cfg.Tenant, cfg.AllowedTenants = "organizations", []string{testTenant}
	asked := 0
	client, err := New(cfg, Deps{Now: e.clock.Now, TenantAdmitted: func(context.Context, string) (bool, error) { asked++; return true, nil }})
	e.must(err)
	c := NewCallers(client, CallerPolicy{AppRole: InvokeRole})
	token := e.issue(byRobot(func(claims map[string]any) {
		claims["tid"], claims["iss"] = otherTenant, e.server.URL+"/"+otherTenant+"/v2.0"
	}))
	signed := strings.LastIndexByte(token, '.') + 1
	forged := token[:signed] + strings.Repeat("A", len(token)-signed)
	var r *Refusal
	if _, err := c.Verify(t.Context(), forged); !errors.As(err, &r) || r.Reason != ReasonSignature || asked != 0 {
		t.Errorf("forged: %v, asked %d times", err, asked)
	}
	if _, err := c.Verify(t.Context(), token); err != nil || asked != 1 {
		t.Errorf("Entra's: %v, asked %d times", err, asked)
	}
}

func TestACallerWhoseTenantNobodyKnowsIsNoVerdict(t *testing.T) {
	e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.MultiTenant })
	cfg := e.config()
	cfg.Tenant, cfg.AllowedTenants = "organizations", []string{testTenant}
	unknown := errors.New("storage is away")
	admitted := false
	client, err := New(cfg, Deps{Now: e.clock.Now, TenantAdmitted: func(context.Context, string) (bool, error) { return admitted, unknown }})
	e.must(err)
	c := NewCallers(client, CallerPolicy{AppRole: InvokeRole})
	token := e.issue(byRobot(func(claims map[string]any) {
		claims["tid"], claims["iss"] = otherTenant, e.server.URL+"/"+otherTenant+"/v2.0"
	}))
	if _, err := c.Verify(t.Context(), token); err == nil || AsError(err).Kind != Unavailable || !errors.Is(err, unknown) {
		t.Errorf("got %v", err)
	}
	unknown = nil
	var r *Refusal
	if _, err := c.Verify(t.Context(), token); !errors.As(err, &r) || r.Reason != ReasonTenant || !strings.Contains(r.Message, "app tenants allow "+otherTenant) {
		t.Errorf("got %v", err)
	}
	admitted = true
	if _, err := c.Verify(t.Context(), token); err != nil {
		t.Errorf("admitted: %v", err)
	}
}
