package entra

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestForgedOrForeignIDTokenIsRefused(t *testing.T) {
	set := func(name string, v any) func(*tenant, jwt.MapClaims) {
		return func(_ *tenant, c jwt.MapClaims) { c[name] = v }
	}
	shift := func(name string, d time.Duration) func(*tenant, jwt.MapClaims) {
		return func(e *tenant, c jwt.MapClaims) { c[name] = e.clock.Now().Add(d).Unix() }
	}
	for name, test := range map[string]struct {
		change func(*tenant, jwt.MapClaims)
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
		"tid that is no GUID":          {set("tid", "../common"), Unavailable},
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
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.claims = func(c jwt.MapClaims) { test.change(e, c) }
			s, err := e.client().Exchange(context.Background(), goodCallback())
			if test.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was accepted")
			}
			if f := AsFailure(err); f.Kind != test.kind || f.EndsGrant() || s.Claims != nil || s.RefreshToken != "" {
				t.Errorf("failure is %v with %v", f, s.Claims)
			}
		})
	}
}

func TestVersion1TokenNamesTheManifestSetting(t *testing.T) {
	e := newTenant(t)
	e.claims = func(c jwt.MapClaims) { c["ver"] = "1.0" }
	if f := exchangeFailure(t, e.client()); !strings.Contains(f.Description(), "api.requestedAccessTokenVersion to 2") {
		t.Errorf("description is %q", f.Description())
	}
}

func TestIDTokenAlgorithmIsPinned(t *testing.T) {
	for name, forge := range map[string]func(e *tenant) string{
		"none": func(e *tenant) string {
			return e.sign(jwt.SigningMethodNone, forged(e), jwt.UnsafeAllowNoneSignatureType)
		},
		"HS256 with the public key": func(e *tenant) string {
			return e.sign(jwt.SigningMethodHS256, forged(e), signingKeys()[0].N.Bytes())
		},
		"RS512":       func(e *tenant) string { return e.sign(jwt.SigningMethodRS512, forged(e), signingKeys()[0]) },
		"another key": func(e *tenant) string { return e.sign(jwt.SigningMethodRS256, forged(e), signingKeys()[1]) },
		"no token":    func(*tenant) string { return "" },
		"no JWT":      func(*tenant) string { return "a.b.c" },
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.respond = func(w http.ResponseWriter, _ *http.Request) {
				answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 60, "id_token": forge(e)})
			}
			if f := exchangeFailure(t, e.client()); f.Kind != Unavailable {
				t.Errorf("failure is %v", f)
			}
		})
	}
}

func forged(e *tenant) jwt.MapClaims {
	now := e.clock.Now()
	return jwt.MapClaims{
		"iss": e.issuer, "aud": testClient, "tid": testTenant, "oid": testUser, "ver": "2.0", "nonce": testNonce,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func TestWhoMayComeFromWhichTenant(t *testing.T) {
	const template = "{tenantid}"
	for name, test := range map[string]struct {
		tenant  string
		allowed []string
		issuer  string // segment in the metadata
		tid     string
		want    Kind // empty: may sign in
	}{
		"the one tenant":                    {testTenant, nil, testTenant, testTenant, ""},
		"the one tenant, upper case":        {strings.ToUpper(testTenant), nil, testTenant, testTenant, ""},
		"domain resolves":                   {"contoso.onmicrosoft.com", nil, testTenant, testTenant, ""},
		"domain also on the allow-list":     {"contoso.onmicrosoft.com", []string{"contoso.onmicrosoft.com"}, testTenant, testTenant, ""},
		"one tenant, not on its allow-list": {testTenant, []string{otherTenant}, testTenant, testTenant, NotAllowed},
		"organizations, listed":             {"organizations", []string{testTenant}, template, testTenant, ""},
		"organizations, not listed":         {"organizations", []string{testTenant}, template, otherTenant, NotAllowed},
		"organizations, everyone":           {"organizations", []string{"*"}, template, otherTenant, ""},
		"organizations, personal account":   {"organizations", []string{"*"}, template, consumersTenantID, NotAllowed},
		"common, personal account":          {"common", []string{"*"}, template, consumersTenantID, ""},
		"common, listed":                    {"common", []string{testTenant, otherTenant}, template, otherTenant, ""},
		"consumers":                         {"consumers", nil, consumersTenantID, consumersTenantID, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.issuer = e.server.URL + "/" + test.issuer + "/v2.0"
			e.claims = func(c jwt.MapClaims) {
				c["tid"], c["iss"] = test.tid, e.server.URL+"/"+test.tid+"/v2.0"
			}
			c := e.client(func(cfg *Config) { cfg.Tenant, cfg.AllowedTenants = test.tenant, test.allowed })
			_, err := c.Exchange(context.Background(), goodCallback())
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || AsFailure(err).Kind != test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestGroupsOverageIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(jwt.MapClaims)
		overage bool
	}{
		"groups":       {func(c jwt.MapClaims) { c["groups"] = []string{"g1"} }, false},
		"_claim_names": {func(c jwt.MapClaims) { c["_claim_names"] = map[string]any{"groups": "src1"} }, true},
		"hasgroups":    {func(c jwt.MapClaims) { c["hasgroups"] = true }, true},
		"as text":      {func(c jwt.MapClaims) { c["hasgroups"] = "true" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.claims = test.change
			s, err := e.client().Exchange(context.Background(), goodCallback())
			if err != nil {
				t.Fatal(err)
			}
			if s.Claims.GroupsOverage != test.overage || (len(s.Claims.Groups) == 0) != test.overage {
				t.Errorf("claims are %+v", s.Claims)
			}
		})
	}
}
