package entra

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func finding(t *testing.T, c *Client, check string) Finding {
	t.Helper()
	for _, f := range c.Diagnose(context.Background()) {
		if strings.HasPrefix(f.Check, check) {
			if f.Verdict == Wrong && f.Fix == "" {
				t.Errorf("%s is wrong and no fix is named", f.Check)
			}
			return f
		}
	}
	t.Fatalf("there is no finding on %q", check)
	return Finding{}
}

func TestDiagnoseFindsNothingWrongWithAGoodSetup(t *testing.T) {
	e := newTenant(t)
	e.clock.t = time.Now()
	for _, f := range e.client().Diagnose(context.Background()) {
		if f.Verdict == Wrong {
			t.Errorf("%s: %s", f.Check, f.Detail)
		}
	}
}

func TestDiagnoseNamesWhatIsWrong(t *testing.T) {
	t.Run("unreachable", func(t *testing.T) {
		e := newTenant(t)
		e.down = true
		if f := finding(t, e.client(), "Entra metadata"); f.Verdict != Wrong {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("clock", func(t *testing.T) {
		e := newTenant(t)
		e.clock.t = time.Now().Add(5 * time.Minute)
		if f := finding(t, e.client(), "clock"); f.Verdict != Wrong {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("secret", func(t *testing.T) {
		e := newTenant(t)
		f := finding(t, e.client(func(cfg *Config) { cfg.Secret = "another" }), "credential")
		if f.Verdict != Wrong || !strings.Contains(f.Fix, "ENTRA_CLIENT_SECRET") {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("good secret, malformed code", func(t *testing.T) {
		e := newTenant(t)
		e.respond = func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_request", 9002313) }
		if f := finding(t, e.client(), "credential"); f.Verdict != OK {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("certificate about to end", func(t *testing.T) {
		e := newTenant(t)
		path := filepath.Join(t.TempDir(), "client.pem")
		writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now().Add(-360*24*time.Hour))
		c := e.client(func(cfg *Config) { cfg.Secret, cfg.CertificatePath = "", path })
		if f := finding(t, c, "certificate"); f.Verdict != Wrong || !strings.Contains(f.Detail, "2026-11-28") {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("allow-list without the tenant", func(t *testing.T) {
		e := newTenant(t)
		c := e.client(func(cfg *Config) { cfg.AllowedTenants = []string{otherTenant} })
		if f := finding(t, c, "allowed tenants"); f.Verdict != Wrong {
			t.Errorf("finding is %+v", f)
		}
	})
	t.Run("version 1 access tokens", func(t *testing.T) {
		e := newTenant(t)
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": e.accessToken("1.0"), "expires_in": 60, "id_token": e.idToken(testNonce)})
		}
		c := e.client()
		mustExchange(t, c)
		if f := finding(t, c, "access token version"); f.Verdict != Wrong || !strings.Contains(f.Fix, "requestedAccessTokenVersion") {
			t.Errorf("finding is %+v", f)
		}
	})
}

func TestDiagnoseObservesTheRedirectURI(t *testing.T) {
	for name, test := range map[string]struct {
		authorize http.HandlerFunc
		want      Verdict
	}{
		"registered": {func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("prompt") != "none" || r.FormValue("redirect_uri") != testCallback {
				t.Errorf("request is %s", r.URL)
			}
			http.Redirect(w, r, testCallback+"?error=login_required&state=diagnose", http.StatusFound)
		}, OK},
		"not registered": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html>AADSTS50011: The redirect URI does not match</html>")
		}, Wrong},
		"app unknown": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html>AADSTS700016: not found</html>")
		}, Wrong},
		"a page that says nothing": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>sign in</html>") }, Unknown},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
		}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.authorize = test.authorize
			if f := finding(t, e.client(), "redirect URI"); f.Verdict != test.want {
				t.Errorf("finding is %+v", f)
			}
		})
	}
}
