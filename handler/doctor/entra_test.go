package doctor_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/config"
	"entramcp/handler/doctor"
	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

const (
	clientSecret = "correct-horse-battery-staple"
	callback     = "http://localhost:7071/auth/callback"
	apiScope     = tenant.DefaultClientID + "/" + tenant.DefaultScope
)

func secretOf(text string) entra.Secret { return entra.Secret{Value: secret.New(text)} }

// upstream is the simulated tenant with one app registration, and a
// configuration that fits it until a test changes either.
type upstream struct {
	*tenant.Tenant
	t     *testing.T
	entra entra.Config
	now   func() time.Time
	// policy is who may call with Entra's own tokens.
	policy entra.CallerPolicy
	// answer, if set, takes requests that it answers away from the tenant.
	answer func(http.ResponseWriter, *http.Request) bool
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{t: t, now: time.Now}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.answer == nil || !u.answer(w, r) {
			u.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	var err error
	if u.Tenant, err = tenant.New(tenant.Options{BaseURL: server.URL, SigningKey: tenant.SharedKey()}); err != nil {
		t.Fatal(err)
	}
	app := tenant.DefaultApp(clientSecret, callback)
	if err := u.Register(app); err != nil {
		t.Fatal(err)
	}
	u.entra = entra.Config{
		Tenant: tenant.Contoso, ClientID: tenant.DefaultClientID, Secret: secretOf(clientSecret), APIScope: apiScope,
		Authority: server.URL, RedirectURI: callback, Timeout: 3 * time.Second,
	}
	return u
}

func (u *upstream) reconfigure(edit func(*tenant.App)) {
	u.t.Helper()
	if err := u.Reconfigure(tenant.DefaultClientID, edit); err != nil {
		u.t.Fatal(err)
	}
}

func (u *upstream) client() *entra.Client {
	u.t.Helper()
	c, err := entra.New(u.entra, entra.Deps{Now: u.now})
	if err != nil {
		u.t.Fatal(err)
	}
	return c
}

// check is the finding on one thing.
func (u *upstream) check(c *entra.Client, name string) doctor.Finding {
	u.t.Helper()
	cfg := config.Entra{
		TenantID: u.entra.Tenant, AllowedTenants: u.entra.AllowedTenants, APIScope: u.entra.APIScope, Authority: u.entra.Authority,
		ClientSecret: config.Secret(u.entra.Secret), SecretExpires: u.entra.SecretExpires, ManagedIdentityClientID: u.entra.ManagedIdentityClientID,
		AppRole: u.policy.AppRole, Clients: u.policy.Clients,
	}
	findings := doctor.Entra(context.Background(), cfg, c, callback, u.now)
	for _, f := range findings {
		if strings.HasPrefix(f.Check, name) {
			return f
		}
	}
	u.t.Fatalf("there is no finding on %q among %v", name, findings)
	return doctor.Finding{}
}

// signIn signs Alice in, as a sign-in since the start.
func (u *upstream) signIn(c *entra.Client) {
	u.t.Helper()
	verifier := oauth.NewVerifier()
	address, err := c.AuthorizeURL(context.Background(), entra.AuthorizeRequest{State: "s", Nonce: "n", CodeChallenge: oauth.S256(verifier)})
	if err != nil {
		u.t.Fatal(err)
	}
	back, err := tenant.SignIn(context.Background(), http.DefaultClient, address, tenant.Alice)
	if err != nil {
		u.t.Fatal(err)
	}
	at, err := url.Parse(back)
	if err != nil {
		u.t.Fatal(err)
	}
	if _, err := c.Exchange(context.Background(), entra.Callback{
		Code: entra.Code{Value: secret.New(at.Query().Get("code"))}, Verifier: entra.Verifier{Value: secret.New(verifier)}, Nonce: "n"}); err != nil {
		u.t.Fatal(err)
	}
}

// page answers the authorize endpoint.
func page(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/authorize") {
			return false
		}
		fmt.Fprint(w, text)
		return true
	}
}

func TestEntraIsCheckedFromOutside(t *testing.T) {
	for name, tt := range map[string]struct {
		change      func(*testing.T, *upstream)
		check       string
		want        doctor.Verdict
		detail, fix string
	}{
		"metadata":                      {check: "Entra metadata", want: doctor.Passed, detail: tenant.Contoso},
		"keys":                          {check: "Entra signing keys", want: doctor.Passed, detail: "1 keys"},
		"clock":                         {check: "clock", want: doctor.Passed},
		"credential":                    {check: "credential (ENTRA_CLIENT_SECRET)", want: doctor.Passed},
		"redirect":                      {check: "redirect URI", want: doctor.Passed, detail: callback},
		"version":                       {check: "access token version", want: doctor.Undecided},
		"version, without an API scope": {change: func(_ *testing.T, u *upstream) { u.entra.APIScope = "" }, check: "access token version", want: doctor.Passed},

		"unreachable": {change: func(_ *testing.T, u *upstream) { u.Outage(true) },
			check: "Entra metadata", want: doctor.Failed, detail: "503", fix: "ENTRA_AUTHORITY"},
		"unknown tenant": {change: func(_ *testing.T, u *upstream) { u.entra.Tenant = "nobody.example" },
			check: "Entra metadata", want: doctor.Failed, fix: "ENTRA_TENANT_ID"},
		"clock ahead": {change: func(_ *testing.T, u *upstream) { u.now = func() time.Time { return time.Now().Add(5 * time.Minute) } },
			check: "clock", want: doctor.Failed, detail: "from Entra's", fix: "clock"},
		"clock behind": {change: func(_ *testing.T, u *upstream) { u.now = func() time.Time { return time.Now().Add(-5 * time.Minute) } },
			check: "clock", want: doctor.Failed, fix: "clock"},
		"wrong secret": {change: func(_ *testing.T, u *upstream) { u.entra.Secret = secretOf("another") },
			check: "credential", want: doctor.Failed, detail: "7000215", fix: "ENTRA_CLIENT_SECRET"},
		"expired secret": {change: func(_ *testing.T, u *upstream) {
			u.reconfigure(func(a *tenant.App) { a.Secrets[0].Expires = time.Now().Add(-time.Hour) })
		}, check: "credential", want: doctor.Failed, detail: "7000222", fix: "ENTRA_CLIENT_SECRET"},
		"token endpoint away": {change: func(_ *testing.T, u *upstream) { u.Throttle(9, time.Second) },
			check: "credential", want: doctor.Undecided},
		"certificate not uploaded": {change: func(t *testing.T, u *upstream) { u.useCertificate(t, time.Now().Add(90*24*time.Hour)) },
			check: "credential (ENTRA_CLIENT_CERTIFICATE_PATH)", want: doctor.Failed, detail: "700027", fix: "ENTRA_CLIENT_CERTIFICATE_PATH"},
		"certificate": {change: func(t *testing.T, u *upstream) { u.useCertificate(t, time.Now().Add(90*24*time.Hour)) },
			check: "certificate", want: doctor.Passed, detail: "valid until"},
		"certificate about to end": {change: func(t *testing.T, u *upstream) { u.useCertificate(t, time.Now().Add(10*24*time.Hour)) },
			check: "certificate", want: doctor.Failed, fix: "Renew it"},
		"certificate missing": {change: func(_ *testing.T, u *upstream) {
			u.entra.Secret, u.entra.CertificatePath = entra.Secret{}, "nowhere.pem"
		},
			check: "certificate", want: doctor.Failed, fix: "ENTRA_CLIENT_CERTIFICATE_PATH"},
		"redirect not registered": {change: func(_ *testing.T, u *upstream) {
			u.reconfigure(func(a *tenant.App) { a.RedirectURIs = []string{"https://elsewhere.example/cb"} })
		}, check: "redirect URI", want: doctor.Failed, detail: "50011", fix: callback},
		"app unknown": {change: func(_ *testing.T, u *upstream) { u.answer = page("<html>AADSTS700016: not found</html>") },
			check: "redirect URI", want: doctor.Failed, detail: "700016", fix: "ENTRA_CLIENT_ID"},
		"a page that says nothing": {change: func(_ *testing.T, u *upstream) { u.answer = page("<html>sign in</html>") },
			check: "redirect URI", want: doctor.Undecided, detail: "sign in once"},
		"a user's error on the page": {change: func(_ *testing.T, u *upstream) { u.answer = page("<html>AADSTS50057: disabled</html>") },
			check: "redirect URI", want: doctor.Undecided},
		"sent elsewhere": {change: func(_ *testing.T, u *upstream) {
			u.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/authorize") {
					return false
				}
				http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
				return true
			}
		}, check: "redirect URI", want: doctor.Undecided},
		"secret, its end not known": {check: "client secret", want: doctor.Undecided, fix: "ENTRA_CLIENT_SECRET_EXPIRES"},
		"secret for long": {change: func(_ *testing.T, u *upstream) { u.entra.SecretExpires = time.Now().AddDate(1, 0, 0) },
			check: "client secret", want: doctor.Passed, detail: "valid until"},
		"secret about to end": {change: func(_ *testing.T, u *upstream) { u.entra.SecretExpires = time.Now().AddDate(0, 0, 20) },
			check: "client secret", want: doctor.Failed, fix: "ENTRA_CLIENT_SECRET_EXPIRES"},
		"external tenant": {change: func(t *testing.T, u *upstream) { u.external(t) },
			check: "external tenant", want: doctor.Passed, detail: "12 hours"},
		"external tenant with a managed identity": {change: func(t *testing.T, u *upstream) {
			u.external(t)
			machine := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(machine.Close)
			t.Setenv("IDENTITY_ENDPOINT", machine.URL)
			t.Setenv("IDENTITY_HEADER", "h")
			u.entra.Secret, u.entra.ManagedIdentityClientID = entra.Secret{}, "1d000000-0000-4000-8000-000000000001"
		}, check: "external tenant", want: doctor.Failed, fix: "ENTRA_CLIENT_SECRET"},
		"applications": {change: func(_ *testing.T, u *upstream) { u.policy.AppRole = entra.InvokeRole },
			check: "callers with Entra's tokens", want: doctor.Passed, detail: "Mcp.Invoke"},
		"the token store": {change: func(_ *testing.T, u *upstream) { u.policy.Clients = []string{"ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b"} },
			check: "callers with Entra's tokens", want: doctor.Passed, detail: "every plugin"},
		"allow-list without the tenant": {change: func(_ *testing.T, u *upstream) { u.entra.AllowedTenants = []string{tenant.Fabrikam} },
			check: "allowed tenants", want: doctor.Failed, detail: tenant.Contoso, fix: "ENTRA_ALLOWED_TENANTS"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			if tt.change != nil {
				tt.change(t, u)
			}
			f := u.check(u.client(), tt.check)
			if f.Verdict != tt.want || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Fix, tt.fix) {
				t.Errorf("finding is %+v", f)
			}
			if f.Verdict == doctor.Failed && f.Fix == "" {
				t.Error("it is wrong, and no fix is named")
			}
		})
	}
}

func TestVersion1AccessTokensAreReportedOnceSeen(t *testing.T) {
	for version, want := range map[int]doctor.Verdict{1: doctor.Failed, 2: doctor.Passed} {
		u := newUpstream(t)
		u.reconfigure(func(a *tenant.App) { a.TokenVersion = version })
		c := u.client()
		u.signIn(c)
		f := u.check(c, "access token version")
		if f.Verdict != want || (want == doctor.Failed && !strings.Contains(f.Fix, "requestedAccessTokenVersion")) {
			t.Errorf("version %d: %+v", version, f)
		}
	}
}

// useCertificate configures a certificate that ends then.
func (u *upstream) useCertificate(t *testing.T, ends time.Time) {
	t.Helper()
	key := tenant.SharedKey()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: ends.AddDate(-1, 0, 0), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "client.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	u.entra.Secret, u.entra.CertificatePath = entra.Secret{}, path
}

// external makes the tenant an external one.
func (u *upstream) external(t *testing.T) {
	t.Helper()
	var err error
	if u.Tenant, err = tenant.New(tenant.Options{BaseURL: u.entra.Authority, External: true, SigningKey: tenant.SharedKey()}); err != nil {
		t.Fatal(err)
	}
	if err := u.Register(tenant.DefaultApp(clientSecret, callback)); err != nil {
		t.Fatal(err)
	}
}
