package entra

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	sim "entramcp/dev/tenant"
)

// The probes look from outside: whatever they find, nobody is signed in and no
// token is issued.
func TestDiscoverySaysWhatThereIs(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	d, err := c.Discover(t.Context())
	if err != nil || d.TenantID != testTenant || d.Issuer != e.server.URL+"/"+testTenant+"/v2.0" || d.External || d.Keys != 1 || d.Date.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	if !c.Admits(d, testTenant) || c.Admits(d, otherTenant) {
		t.Error("it admits another tenant")
	}
	e.set(func() { e.edits[keysPath] = func(d map[string]any) { d["keys"] = []any{} } })
	if d, err := c.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "signing keys") {
		t.Errorf("without keys: %+v, %v", d, err)
	}
	e.set(func() {
		delete(e.edits, keysPath)
		e.replace[metadataPath] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	})
	if d, err := c.Discover(t.Context()); err == nil {
		t.Errorf("without metadata: %+v", d)
	}
	e.set(func() { e.down = true })
	if d, err := c.Discover(t.Context()); err == nil || d != (Discovery{}) {
		t.Errorf("during an outage: %+v, %v", d, err)
	}
}

func TestTheCredentialIsProbedWithoutAToken(t *testing.T) {
	refused := func(code string, aadsts int) func(*tenant) {
		return func(e *tenant) { e.refuses(code, aadsts) }
	}
	for name, test := range map[string]struct {
		change func(*tenant)
		kind   Kind // empty: no objection
		says   string
	}{
		"good":                         {func(*tenant) {}, "", ""},
		"the code cannot be read":      {refused("invalid_request", 9002313), "", ""},
		"the code cannot be read, too": {refused("invalid_request", 90023), "", ""},
		"another secret": {func(e *tenant) {
			e.reconfigure(func(a *sim.App) { a.Secrets = []sim.Secret{{Value: "another"}} })
		}, Misconfigured, "ENTRA_CLIENT_SECRET"},
		"another request is refused": {refused("invalid_request", 90014), Misconfigured, ""},
		"outage":                     {func(e *tenant) { e.Outage(true) }, Unavailable, ""},
		"it is redeemed":             {func(e *tenant) { e.respondTokens(nil) }, Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTenant(t)
			c := e.client()
			e.must(c.Ready(t.Context()))
			test.change(e)
			err := c.ProbeCredential(t.Context())
			if test.kind == "" && err != nil || test.kind != "" && (err == nil || AsError(err).Kind != test.kind || !strings.Contains(AsError(err).NextStep, test.says)) {
				t.Errorf("got %v, want %q", err, test.kind)
			}
			if form, _ := e.lastRequest(); form.Get("code") != bogusCode || form.Get("code_verifier") == "" || form.Get("redirect_uri") != testCallback {
				t.Errorf("sent %v", form)
			}
		})
	}
}

func TestTheRedirectURIIsProbedWithoutASignIn(t *testing.T) {
	page := func(text string) func(*tenant) {
		return func(e *tenant) {
			e.set(func() {
				e.replace["oauth2/v2.0/authorize"] = func(w http.ResponseWriter) { _, _ = w.Write([]byte(text)) }
			})
		}
	}
	for name, test := range map[string]struct {
		change  func(*tenant)
		ok      bool
		verdict int // of Entra's
	}{
		"registered": {func(*tenant) {}, true, 0},
		"not registered": {func(e *tenant) {
			e.reconfigure(func(a *sim.App) { a.RedirectURIs = []string{"https://else.example/cb"} })
		}, false, 50011},
		"a page without a number":       {page("<html>Sign in</html>"), false, 0},
		"a number that says else":       {page("AADSTS50058: session"), false, 0},
		"a number that nobody explains": {page("AADSTS9999999"), false, 0},
		"the second number tells":       {page("AADSTS9999999 AADSTS50011: no reply address"), false, 50011},
		"sent elsewhere": {func(e *tenant) {
			e.set(func() {
				e.replace["oauth2/v2.0/authorize"] = func(w http.ResponseWriter) {
					w.Header().Set("Location", "https://else.example/?x="+testCallback)
					w.WriteHeader(http.StatusFound)
				}
			})
		}, false, 0},
		"outage": {func(e *tenant) { e.set(func() { e.down = true }) }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTenant(t)
			c := e.client()
			if name != "outage" {
				e.must(c.Ready(t.Context()))
			}
			test.change(e)
			err := c.ProbeRedirect(t.Context())
			f, verdict := errors.AsType[*Error](err)
			if (err == nil) != test.ok || verdict != (test.verdict != 0) || verdict && (f.AADSTS != test.verdict || f.Kind != Misconfigured) {
				t.Errorf("got %v", err)
			}
			if e.tokenRequests() != 0 {
				t.Error("a token was asked for")
			}
		})
	}
	e := newTenant(t)
	c := e.client()
	e.must(c.Ready(t.Context()))
	e.server.Close()
	if err := c.ProbeRedirect(t.Context()); err == nil {
		t.Error("nobody answers, and that is a verdict")
	}
}
