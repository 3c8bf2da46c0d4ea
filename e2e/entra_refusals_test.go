package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/entra"
)

func TestEntraTenantsAndTheAllowList(t *testing.T) {
	multi := func(a *tenant.App) { a.SignInAudience = tenant.AnyAccount }
	for name, test := range map[string]struct {
		tenant  string
		allowed []string
		user    string
		want    entra.Kind // empty: may sign in
	}{
		"member":                          {tenant.Contoso, nil, tenant.Alice, ""},
		"guest":                           {tenant.Contoso, nil, tenant.Carol, ""},
		"domain":                          {"contoso.example", nil, tenant.Alice, ""},
		"stranger":                        {tenant.Contoso, nil, tenant.Grace, entra.NotAllowed},
		"organizations, listed":           {"organizations", []string{tenant.Contoso, tenant.Fabrikam}, tenant.Grace, ""},
		"organizations, not listed":       {"organizations", []string{tenant.Contoso}, tenant.Grace, entra.NotAllowed},
		"organizations, personal account": {"organizations", []string{"*"}, tenant.Ivan, entra.NotAllowed},
		"common, everyone":                {"common", []string{"*"}, tenant.Ivan, ""},
		"common, listed":                  {"common", []string{tenant.Contoso}, tenant.Alice, ""},
		"consumers":                       {"consumers", nil, tenant.Ivan, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := startEntra(t, multi)
			c := w.client(func(cfg *entra.Config) { cfg.Tenant, cfg.AllowedTenants = test.tenant, test.allowed })
			_, err := w.exchange(c, w.callbackFor(c, test.user, ""))
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || entra.AsFailure(err).Kind != test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestEntraSignInRefusalsAreExplained(t *testing.T) {
	for name, test := range map[string]struct {
		user string
		app  func(*tenant.App)
		kind entra.Kind
		code int
	}{
		"disabled":           {tenant.Dave, func(*tenant.App) {}, entra.NotAllowed, 50057},
		"not assigned":       {tenant.Erin, func(a *tenant.App) { a.AssignmentRequired = true }, entra.NotAllowed, 50105},
		"admin consent":      {tenant.Bob, func(a *tenant.App) { a.AdminOnly = []string{entraScope} }, entra.ConsentNeeded, 90094},
		"approval requested": {tenant.Bob, func(a *tenant.App) { a.AdminOnly, a.ConsentWorkflow = []string{entraScope}, true }, entra.ConsentNeeded, 90095},
	} {
		t.Run(name, func(t *testing.T) {
			w := startEntra(t, test.app)
			c := w.client()
			f := c.FromRedirect(w.callbackFor(c, test.user, ""))
			if f == nil || f.Kind != test.kind || f.AADSTS != test.code || f.CorrelationID == "" || f.TraceID == "" {
				t.Fatalf("failure is %v", f)
			}
			if (f.Kind == entra.ConsentNeeded) != strings.Contains(f.ConsentURL, "/v2.0/adminconsent?") {
				t.Errorf("consent link is %q", f.ConsentURL)
			}
		})
	}
}

func TestEntraSecondFactorIsAPartOfTheSignIn(t *testing.T) {
	w := startEntra(t)
	if s := w.signIn(w.client(), tenant.Frank); s.Claims.Username != tenant.Frank {
		t.Errorf("claims are %+v", s.Claims)
	}
}

func TestEntraGroupsOverageIsNoticed(t *testing.T) {
	w := startEntra(t, func(a *tenant.App) { a.GroupsClaim = true })
	if s := w.signIn(w.client(), tenant.Heidi); !s.Claims.GroupsOverage || len(s.Claims.Groups) != 0 {
		t.Errorf("claims are %+v", s.Claims)
	}
}

func TestEntraRenewalAfterTheWorldHasChanged(t *testing.T) {
	const user = tenant.Bob
	change := func(w *entraWorld, edit func(*tenant.User)) error { return w.Change(user, edit) }
	for name, test := range map[string]struct {
		change func(*entraWorld) error
		kind   entra.Kind
		ends   bool
	}{
		"disabled":          {func(w *entraWorld) error { return change(w, func(u *tenant.User) { u.Disabled = true }) }, entra.NotAllowed, true},
		"sessions revoked":  {func(w *entraWorld) error { return w.RevokeSessions(user) }, entra.SignInOver, true},
		"consent withdrawn": {func(w *entraWorld) error { return w.WithdrawConsent(user) }, entra.ConsentNeeded, true},
		"second factor":     {func(w *entraWorld) error { return change(w, func(u *tenant.User) { u.MFA = true }) }, entra.InteractionNeeded, true},
		"secret replaced": {func(w *entraWorld) error {
			return w.Reconfigure(tenant.DefaultClientID, func(a *tenant.App) { a.Secrets = []tenant.Secret{{Value: "another"}} })
		}, entra.Misconfigured, false},
		"secret expired": {func(w *entraWorld) error {
			return w.Reconfigure(tenant.DefaultClientID, func(a *tenant.App) {
				a.Secrets = []tenant.Secret{{Value: entraSecret, Expires: time.Now().Add(-time.Hour)}}
			})
		}, entra.Misconfigured, false},
		"throttled": {func(w *entraWorld) error { w.Throttle(1, 7*time.Second); return nil }, entra.Unavailable, false},
		"outage":    {func(w *entraWorld) error { w.Outage(true); return nil }, entra.Unavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := startEntra(t)
			c := w.client()
			s := w.signIn(c, user)
			if err := test.change(w); err != nil {
				t.Fatal(err)
			}
			_, err := c.Refresh(context.Background(), s.RefreshToken)
			if err == nil {
				t.Fatal("the renewal succeeded")
			}
			f := entra.AsFailure(err)
			if f.Kind != test.kind || f.EndsGrant() != test.ends {
				t.Errorf("failure is %v, want %s", f, test.kind)
			}
			if name == "throttled" && f.RetryAfter != 7*time.Second {
				t.Errorf("Retry-After is %s", f.RetryAfter)
			}
		})
	}
}

func TestEntraClaimsChallengeEndsInASignInThatCarriesIt(t *testing.T) {
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["a"]}}}`
	w := startEntra(t)
	c := w.client()
	s := w.signIn(c, tenant.Bob)
	if err := w.Change(tenant.Bob, func(u *tenant.User) { u.Challenge = challenge }); err != nil {
		t.Fatal(err)
	}
	_, err := c.Refresh(context.Background(), s.RefreshToken)
	f := entra.AsFailure(err)
	if f.Kind != entra.InteractionNeeded || f.Claims == "" {
		t.Fatalf("failure is %v with claims %q", f, f.Claims)
	}
	again, err := w.exchange(c, w.callbackFor(c, tenant.Bob, f.Claims))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Refresh(context.Background(), again.RefreshToken); err != nil {
		t.Errorf("the fresh sign-in cannot be renewed: %v", err)
	}
}

func TestEntraConsentForGraphIsAskedWithALink(t *testing.T) {
	w := startEntra(t)
	c := w.client()
	s := w.signIn(c, tenant.Bob)
	_, err := entra.NewOnBehalfOf(c).Token(context.Background(), held{s}, "https://graph.microsoft.com/Mail.Read")
	if f := entra.AsFailure(err); err == nil || f.Kind != entra.ConsentNeeded || !strings.Contains(f.ConsentURL, "Mail.Read") {
		t.Errorf("got %v, link %s", err, f.ConsentURL)
	}
}

func TestEntraKeysRollInTheMiddleOfASignIn(t *testing.T) {
	w := startEntra(t)
	c := w.client()
	w.signIn(c, tenant.Alice)
	q := w.callbackFor(c, tenant.Alice, "")
	if err := w.RollKeys(true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.exchange(c, q); err != nil {
		t.Errorf("a rolled key refused a sign-in: %v", err)
	}
}

func TestEntraClockBeyondTheLeewayRefusesAndSaysWhy(t *testing.T) {
	w := startEntra(t)
	c := w.client()
	w.SkewClock(30 * time.Second)
	w.signIn(c, tenant.Alice)
	w.SkewClock(10 * time.Minute) // Entra dates its tokens five minutes back
	_, err := w.exchange(c, w.callbackFor(c, tenant.Alice, ""))
	if f := entra.AsFailure(err); err == nil || f.EndsGrant() || !strings.Contains(f.NextStep, "clock") {
		t.Errorf("got %v", err)
	}
}

func TestEntraWrongFederationNamesTheFix(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*tenant.FederatedCredential)
		code  int
	}{
		"issuer":   {func(f *tenant.FederatedCredential) { f.Issuer = "https://issuer.example" }, 700211},
		"subject":  {func(f *tenant.FederatedCredential) { f.Subject = "the client id by mistake" }, 700213},
		"audience": {func(f *tenant.FederatedCredential) { f.Audience = "api://AzureADTokenExchangeUSGov" }, 700212},
	} {
		t.Run(name, func(t *testing.T) {
			id := newIdentity()
			w := startEntra(t)
			trust := w.Federation(id)
			test.spoil(&trust)
			if err := w.Reconfigure(tenant.DefaultClientID, func(a *tenant.App) {
				a.Secrets, a.Federated = nil, []tenant.FederatedCredential{trust}
			}); err != nil {
				t.Fatal(err)
			}
			w.serveIdentity(id)
			c := w.client(func(cfg *entra.Config) { cfg.Secret, cfg.ManagedIdentityClientID = "", id.ClientID })
			_, err := w.exchange(c, w.callbackFor(c, tenant.Alice, ""))
			if f := entra.AsFailure(err); err == nil || f.AADSTS != test.code || f.Kind != entra.Misconfigured || !strings.Contains(f.NextStep, name) {
				t.Errorf("got %v: %s", err, f.NextStep)
			}
		})
	}
}
