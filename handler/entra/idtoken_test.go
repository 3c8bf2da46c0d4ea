package entra

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	sim "entramcp/dev/tenant"
	"entramcp/handler/oauth"
)

func TestForgedOrForeignIDTokenIsRefused(t *testing.T) {
	set := func(name string, v any) func(*tenant, map[string]any) {
		return func(_ *tenant, c map[string]any) { c[name] = v }
	}
	shift := func(name string, d time.Duration) func(*tenant, map[string]any) {
		return func(e *tenant, c map[string]any) { c[name] = e.clock.Now().Add(d).Unix() }
	}
	for name, test := range map[string]struct {
		change func(*tenant, map[string]any)
		kind   Kind // empty: accepted
	}{
		"issuer of another tenant":     {set("iss", "https://login.microsoftonline.com/"+otherTenant+"/v2.0"), Unavailable},
		"tid of another tenant":        {set("tid", otherTenant), Unavailable},
		"audience of another app":      {set("aud", otherTenant), Unavailable},
		"audience with others":         {set("aud", []string{testClient, otherTenant}), Unavailable},
		"no audience":                  {set("aud", nil), Unavailable},
		"other nonce":                  {set("nonce", "another"), Unavailable},
		"no nonce":                     {set("nonce", ""), Unavailable},
		"no oid":                       {set("oid", ""), Unavailable},
		"no tid":                       {set("tid", ""), Unavailable},
		"tid that is not a GUID":       {set("tid", "../common"), Unavailable},
		"version 3":                    {set("ver", "3.0"), Unavailable},
		"no version":                   {set("ver", nil), Unavailable},
		"no issue time":                {set("iat", nil), Unavailable},
		"no expiry":                    {set("exp", nil), Unavailable},
		"version 1":                    {set("ver", "1.0"), Misconfigured},
		"version 1 issuer":             {set("iss", "https://sts.windows.net/"+testTenant+"/"), Misconfigured},
		"expired beyond the leeway":    {shift("exp", -61*time.Second), Misconfigured},
		"expired within the leeway":    {shift("exp", -59*time.Second), ""},
		"not yet valid":                {shift("nbf", 61*time.Second), Misconfigured},
		"not yet valid, within leeway": {shift("nbf", 59*time.Second), ""},
		"issued in the future":         {shift("iat", 61*time.Second), Misconfigured},
		"roles as one string":          {set("roles", "Reader"), ""},
		"roles as a list":              {set("roles", []string{"Reader"}), ""},
		"roles as a number":            {set("roles", 7), Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.Forge(func(c map[string]any) { test.change(e, c) })
			s, err := e.signInWith(e.client(), sim.Alice)
			if test.kind == "" {
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(name, "roles") && (len(s.Claims.Roles) != 1 || s.Claims.Roles[0] != "Reader") {
					t.Errorf("roles are %v", s.Claims.Roles)
				}
				return
			}
			if err == nil {
				t.Fatal("it was accepted")
			}
			f := AsError(err)
			if f.Kind != test.kind || f.EndsGrant() || s.Claims != nil || !s.RefreshToken.IsZero() {
				t.Errorf("error is %v with %v", f, s.Claims)
			}
			if f.AtCallback().Code != oauth.ServerError {
				t.Errorf("the client gets %s", f.AtCallback().Code)
			}
		})
	}
}

func TestVersion1TokenNamesTheManifestSetting(t *testing.T) {
	e := newTenant(t)
	e.Forge(func(c map[string]any) { c["ver"] = "1.0" })
	if f := e.exchangeError(e.client()); !strings.Contains(f.Description(), "api.requestedAccessTokenVersion to 2") {
		t.Errorf("description is %q", f.Description())
	}
}

func TestIDTokenAlgorithmIsPinned(t *testing.T) {
	own := signingKeys()[0]
	for name, test := range map[string]struct {
		forge func(e *tenant) string
		ok    bool
	}{
		"RS256, as Entra signs": {func(e *tenant) string { return e.sign(jwt.SigningMethodRS256, "own", own) }, true},
		"none": {func(e *tenant) string {
			return e.sign(jwt.SigningMethodNone, "own", jwt.UnsafeAllowNoneSignatureType)
		}, false},
		"HS256 with the public key": {func(e *tenant) string { return e.sign(jwt.SigningMethodHS256, "own", own.N.Bytes()) }, false},
		"RS512":                     {func(e *tenant) string { return e.sign(jwt.SigningMethodRS512, "own", own) }, false},
		"another key":               {func(e *tenant) string { return e.sign(jwt.SigningMethodRS256, "own", signingKeys()[1]) }, false},
		"no token":                  {func(*tenant) string { return "" }, false},
		"not a JWT":                 {func(*tenant) string { return "a.b.c" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.publish("own", own)
			c := e.client()
			callback := e.callback(c, sim.Alice)
			e.answersWith(test.forge(e))
			_, err := c.Exchange(t.Context(), callback)
			if test.ok != (err == nil) {
				t.Fatalf("got %v", err)
			}
			if test.ok {
				return
			}
			// None at all is half an answer, which may come whole the next time.
			code, says := oauth.ServerError, "could not be verified"
			if name == "no token" {
				code, says = oauth.TemporarilyUnavailable, "did not give a usable answer"
			}
			if f := AsError(err); f.Kind != Unavailable || f.AtCallback().Code != code || !strings.Contains(f.Summary, says) {
				t.Errorf("%v; the client gets %s", f, f.AtCallback().Code)
			}
		})
	}
}

func TestWhoMayComeFromWhichTenant(t *testing.T) {
	for name, test := range map[string]struct {
		tenant  string
		allowed []string
		user    string
		tid     string // what the token says, if it is forged
		want    Kind   // empty: may sign in
	}{
		"the one tenant":                    {testTenant, nil, sim.Alice, "", ""},
		"a guest":                           {testTenant, nil, sim.Carol, "", ""},
		"the one tenant, upper case":        {strings.ToUpper(testTenant), nil, sim.Alice, "", ""},
		"a domain":                          {"contoso.example", nil, sim.Alice, "", ""},
		"a domain on the allow-list too":    {"contoso.example", []string{"contoso.example"}, sim.Alice, "", ""},
		"one tenant, not on its allow-list": {testTenant, []string{otherTenant}, sim.Alice, "", NotAllowed},
		"organizations, listed":             {"organizations", []string{testTenant, strings.ToUpper(otherTenant)}, sim.Grace, "", ""},
		"organizations, not listed":         {"organizations", []string{testTenant}, sim.Grace, "", NotAllowed},
		"organizations, everyone":           {"organizations", []string{"*"}, sim.Grace, "", ""},
		"organizations, personal account":   {"organizations", []string{"*"}, sim.Grace, consumersTenantID, NotAllowed},
		"common, personal account":          {"common", []string{"*"}, sim.Ivan, "", ""},
		"common, listed":                    {"common", []string{testTenant}, sim.Alice, "", ""},
		"consumers":                         {"consumers", nil, sim.Ivan, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.AnyAccount })
			if test.tid != "" {
				e.Forge(func(c map[string]any) { c["tid"], c["iss"] = test.tid, e.server.URL+"/"+test.tid+"/v2.0" })
			}
			c := e.client(func(cfg *Config) { cfg.Tenant, cfg.AllowedTenants = test.tenant, test.allowed })
			_, err := e.signInWith(c, test.user)
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || AsError(err).Kind != test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestAStrangerIsRefusedByTheTenantItself(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	q, _ := e.redirected(c, sim.Grace, "")
	if f := c.FromRedirect(q); f == nil || f.Kind != NotAllowed || f.AADSTS != 50020 {
		t.Errorf("got %v", f)
	}
}

func TestGroupsOverageIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		groups  int
		forge   func(map[string]any)
		overage bool
	}{
		"groups":       {3, nil, false},
		"_claim_names": {300, nil, true},
		"hasgroups":    {0, func(c map[string]any) { c["hasgroups"] = true }, true},
		"as text":      {0, func(c map[string]any) { c["hasgroups"] = "true" }, true},
		"said not":     {3, func(c map[string]any) { c["hasgroups"] = "false" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t, func(a *sim.App) { a.GroupsClaim = true })
			e.must(e.Change(sim.Alice, func(u *sim.User) { u.Groups = test.groups }))
			e.Forge(test.forge)
			s := e.signedInAs(e.client(), sim.Alice)
			if s.Claims.GroupsOverage != test.overage || (len(s.Claims.Groups) == 0) != test.overage {
				t.Errorf("claims are %+v", s.Claims)
			}
		})
	}
}

func TestATenantCanBeAdmittedBesideTheSetting(t *testing.T) {
	admits := func(admitted string, err error) func(context.Context, string) (bool, error) {
		return func(_ context.Context, tid string) (bool, error) { return err == nil && tid == admitted, err }
	}
	for name, tt := range map[string]struct {
		tenant, setting, user string
		admitted              func(context.Context, string) (bool, error)
		want                  Kind
	}{
		"the user's":                 {"organizations", testTenant, sim.Grace, admits(otherTenant, nil), ""},
		"another":                    {"organizations", testTenant, sim.Grace, admits(testTenant, nil), NotAllowed},
		"nobody knows":               {"organizations", testTenant, sim.Grace, admits("", errors.New("storage is away")), Unavailable},
		"nobody has to know":         {"organizations", testTenant, sim.Alice, admits("", errors.New("storage is away")), ""},
		"beside a tenant of its own": {testTenant, otherTenant, sim.Alice, admits(testTenant, nil), NotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t, func(a *sim.App) { a.SignInAudience = sim.MultiTenant })
			cfg := e.config()
			cfg.Tenant, cfg.AllowedTenants = tt.tenant, []string{tt.setting}
			c, err := New(cfg, Deps{Now: e.clock.Now, TenantAdmitted: tt.admitted})
			e.must(err)
			_, err = e.signInWith(c, tt.user)
			if (err == nil) != (tt.want == "") || (err != nil && AsError(err).Kind != tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
