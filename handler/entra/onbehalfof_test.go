package entra

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"
)

var graphScopes = []string{"https://graph.microsoft.com/User.Read"}

func TestOnBehalfOfWorksWithEachCredential(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *tenant) *Client{
		"secret": func(_ *testing.T, e *tenant) *Client { return e.client() },
		"certificate": func(t *testing.T, e *tenant) *Client {
			path := filepath.Join(t.TempDir(), "client.pem")
			cert := writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now())
			e.verify = func(form url.Values) string { return verifyAssertion(e, form, cert, map[string]bool{}) }
			return e.client(func(cfg *Config) { cfg.Secret, cfg.CertificatePath = "", path })
		},
		"managed identity": func(t *testing.T, e *tenant) *Client {
			i := newIdentityEndpoint(t)
			e.clock.t = time.Now()
			e.verify = func(form url.Values) string {
				if form.Get("client_assertion") != "identity-token-1" {
					return "the identity's token is missing"
				}
				return ""
			}
			return e.client(i.use)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			token, expires, err := use(t, e).onBehalfOf(context.Background(), "user-token", graphScopes)
			if err != nil {
				t.Fatal(err)
			}
			if token.IsZero() || !expires.Equal(e.clock.Now().Add(time.Hour)) {
				t.Errorf("expires %s", expires)
			}
			form, _ := e.lastRequest()
			if form.Get("assertion") != "user-token" || form.Get("requested_token_use") != "on_behalf_of" || form.Get("scope") != graphScopes[0] {
				t.Errorf("request has scope %q", form.Get("scope"))
			}
		})
	}
}

func TestOnBehalfOfExplainsWhatIsMissing(t *testing.T) {
	const challenge = `{"access_token":{"capolids":{"essential":true,"values":["x"]}}}`
	e := newTenant(t)
	c := e.client()

	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, "invalid_grant", 65001, map[string]any{"suberror": "consent_required"})
		}
	})
	_, _, err := c.onBehalfOf(context.Background(), "user-token", graphScopes)
	f := AsFailure(err)
	u, _ := url.Parse(f.ConsentURL)
	if f.Kind != ConsentNeeded || u.Query().Get("scope") != graphScopes[0] {
		t.Errorf("failure is %v, link %s", f, f.ConsentURL)
	}

	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, "interaction_required", 50076, map[string]any{"claims": challenge})
		}
	})
	_, _, err = c.onBehalfOf(context.Background(), "user-token", graphScopes)
	if f := AsFailure(err); f.Kind != InteractionNeeded || f.Claims != challenge {
		t.Errorf("failure is %v with claims %q", f, f.Claims)
	}

	without := e.client(func(cfg *Config) { cfg.APIScope = "" })
	_, _, err = without.onBehalfOf(context.Background(), "user-token", graphScopes)
	if f := AsFailure(err); f.Kind != Misconfigured || !strings.Contains(f.NextStep, "ENTRA_API_SCOPE") {
		t.Errorf("failure is %v", f)
	}
}

func TestOnBehalfOfGoesToTheUsersTenant(t *testing.T) {
	e := newTenant(t)
	e.issuer = e.server.URL + "/{tenantid}/v2.0"
	c := e.client(func(cfg *Config) { cfg.Tenant, cfg.AllowedTenants = "common", []string{"*"} })
	for tid, path := range map[string]string{otherTenant: otherTenant, "../" + otherTenant: "common", "": "common"} {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"tid": tid}).SignedString([]byte("k"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.onBehalfOf(context.Background(), token, graphScopes); err != nil {
			t.Fatal(err)
		}
		if got := e.paths[len(e.paths)-1]; got != "/"+path+"/oauth2/v2.0/token" {
			t.Errorf("tid %q: the request went to %s", tid, got)
		}
	}
}

// TestAzidentityRefusesLoopback holds the reason why on-behalf-of requests are
// our own: should it fail one day, azidentity has become an option.
func TestAzidentityRefusesLoopback(t *testing.T) {
	e := newTenant(t)
	c, err := azidentity.NewOnBehalfOfCredentialWithSecret(testTenant, testClient, "user-token", "s3cret-value", &azidentity.OnBehalfOfCredentialOptions{
		ClientOptions:            policy.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.server.URL}},
		DisableInstanceDiscovery: true,
	})
	if err == nil {
		_, err = c.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: graphScopes})
	}
	if err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("got %v", err)
	}
}
