package entra

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	sim "entramcp/dev/tenant"
	"entramcp/handler/secret"
)

// writeCertificate makes a self-signed certificate for key and writes both.
func writeCertificate(t *testing.T, path string, key *rsa.PrivateKey, serial int64, modified time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "entra test"},
		NotBefore: modified.Add(-time.Hour), NotAfter: modified.Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// checkAssertion does what the documentation of certificate credentials asks
// of Entra beside what the simulated tenant checks, and returns what is wrong.
func (e *tenant) checkAssertion(form url.Values, cert *x509.Certificate, seen map[string]bool) string {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
		return "the assertion type is wrong, or there is a secret beside it"
	}
	var claims jwt.RegisteredClaims
	token, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"PS256"}), jwt.WithAudience(e.server.URL+"/"+testTenant+"/oauth2/v2.0/token"),
		jwt.WithIssuer(testClient), jwt.WithSubject(testClient), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithTimeFunc(e.clock.Now),
	).ParseWithClaims(form.Get("client_assertion"), &claims, func(*jwt.Token) (any, error) { return cert.PublicKey, nil })
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(cert.Raw)
	if token.Header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) || token.Header["typ"] != "JWT" {
		return fmt.Sprintf("header is %v", token.Header)
	}
	if life := claims.ExpiresAt.Sub(claims.NotBefore.Time); life < 5*time.Minute || life > 10*time.Minute {
		return "the assertion lives for " + life.String()
	}
	if claims.ID == "" || seen[claims.ID] {
		return "the assertion's id is missing or not new"
	}
	seen[claims.ID] = true
	return ""
}

// useCertificate has the app registration know a certificate, and none else.
func (e *tenant) useCertificate(cert *x509.Certificate) {
	e.reconfigure(func(a *sim.App) { a.Secrets, a.Certificates = nil, []*x509.Certificate{cert} })
}

func TestCertificateSignsAssertionsAndIsReadAgainWhenItChanges(t *testing.T) {
	e := newTenant(t)
	path := filepath.Join(t.TempDir(), "client.pem")
	seen := map[string]bool{}
	cert := writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now())
	e.useCertificate(cert)
	c := e.client(func(cfg *Config) { cfg.Secret, cfg.CertificatePath = Secret{}, path })
	for range 2 {
		e.signedInAs(c, sim.Alice)
		form, _ := e.lastRequest()
		if wrong := e.checkAssertion(form, cert, seen); wrong != "" {
			t.Error(wrong)
		}
	}
	if expires, ok, err := c.CertificateExpiry(t.Context()); !ok || err != nil || !expires.Equal(cert.NotAfter) {
		t.Errorf("it ends %s, %t, %v", expires, ok, err)
	}

	e.useCertificate(writeCertificate(t, path, signingKeys()[1], 2, e.clock.Now().Add(time.Minute)))
	e.signedInAs(c, sim.Alice)

	var log strings.Builder
	c.credential.(*certificateCredential).deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	before, err := os.Stat(path)
	e.must(err)
	e.must(os.WriteFile(path, make([]byte, before.Size()), 0o600))
	e.must(os.Chtimes(path, before.ModTime(), before.ModTime()))
	e.signedInAs(c, sim.Alice)
	if log.Len() != 0 {
		t.Errorf("a file that looks the same is read again: %s", &log)
	}
	if err := os.WriteFile(path, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.signedInAs(c, sim.Alice) // a file caught half-written stops no sign-in
	if !strings.Contains(log.String(), "the one in memory is still used") {
		t.Errorf("the log says %s", &log)
	}
	e.must(os.Remove(path))
	e.signedInAs(c, sim.Alice)
}

func TestCertificateThatCannotBeReadNamesTheSetting(t *testing.T) {
	e := newTenant(t)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	e.must(err)
	foreign := func(key any) string { // beside the certificate of another
		path := filepath.Join(t.TempDir(), "client.pem")
		cert := writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now())
		private, err := x509.MarshalPKCS8PrivateKey(key)
		e.must(err)
		e.must(os.WriteFile(path, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...), 0o600))
		return path
	}
	for name, cfg := range map[string]Config{
		"missing":       {CertificatePath: filepath.Join(t.TempDir(), "none.pem")},
		"not RSA":       {CertificatePath: foreign(ecKey)},
		"another's key": {CertificatePath: foreign(signingKeys()[1])},
		"garbage":       {CertificatePath: garbage},
		"wrong secret":  {CertificatePath: "testdata/legacy.pfx", CertificatePassword: Secret{secret.New("wrong")}},
		"PBES2 not yet": {CertificatePath: "testdata/aes.pfx", CertificatePassword: Secret{secret.New("open-sesame")}},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.client(func(c *Config) {
				c.Secret, c.CertificatePath, c.CertificatePassword = Secret{}, cfg.CertificatePath, cfg.CertificatePassword
			})
			f := e.refreshError(c)
			if f.Kind != Misconfigured || f.EndsGrant() || !strings.Contains(f.NextStep, "ENTRA_CLIENT_CERTIFICATE_PATH") {
				t.Errorf("error is %v: %s", f, f.NextStep)
			}
			if _, ok, err := c.CertificateExpiry(t.Context()); !ok || err == nil {
				t.Errorf("its expiry is known: %t, %v", ok, err)
			}
			if c.CredentialSetting() != "ENTRA_CLIENT_CERTIFICATE_PATH" {
				t.Errorf("the setting is %s", c.CredentialSetting())
			}
		})
	}
	if _, ok, err := e.client().CertificateExpiry(t.Context()); ok || err != nil {
		t.Errorf("a secret has a certificate: %t, %v", ok, err)
	}
}

func TestPFXIsRead(t *testing.T) {
	cert, err := readCertificate("testdata/legacy.pfx", Secret{secret.New("open-sesame")})
	if err != nil {
		t.Fatal(err)
	}
	if cert.key == nil || cert.thumbprint == "" {
		t.Error("the key or the thumbprint is missing")
	}
}

// identityEndpoint is App Service's managed identity endpoint with an identity
// of its own, which the app registration trusts: MSAL caches identities' tokens
// for the whole process.
type identityEndpoint struct {
	sim.ManagedIdentity
	calls atomic.Int32
	fail  atomic.Int32 // status to answer instead
}

func (e *tenant) newIdentityEndpoint() *identityEndpoint {
	e.t.Helper()
	i := &identityEndpoint{ManagedIdentity: sim.ManagedIdentity{ClientID: uuid.NewString(), Principal: uuid.NewString(), Header: "identity-header"}}
	endpoint := e.Tenant.ManagedIdentity(i.ManagedIdentity)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.calls.Add(1)
		if status := int(i.fail.Load()); status != 0 {
			answerJSON(w, status, map[string]any{"statusCode": status, "message": "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."})
			return
		}
		endpoint.ServeHTTP(w, r)
	}))
	e.t.Cleanup(server.Close)
	e.t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	e.t.Setenv("IDENTITY_HEADER", i.Header)
	e.clock.Advance(time.Since(e.clock.Now())) // MSAL's clock
	e.reconfigure(func(a *sim.App) {
		a.Secrets, a.Federated = nil, []sim.FederatedCredential{e.Federation(i.ManagedIdentity)}
	})
	return i
}

func (i *identityEndpoint) use(cfg *Config) {
	cfg.Secret, cfg.ManagedIdentityClientID = Secret{}, i.ClientID
}

func TestManagedIdentityIsTheClientAssertionAndIsAskedOnce(t *testing.T) {
	e := newTenant(t)
	i := e.newIdentityEndpoint()
	c := e.client(i.use)
	for range 3 {
		e.signedInAs(c, sim.Alice)
	}
	if form, _ := e.lastRequest(); form.Get("client_assertion_type") != jwtBearer || form.Has("client_secret") {
		t.Error("the identity's token is not the assertion")
	}
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d calls to the identity endpoint, want 1", n)
	}
}

func TestWrongFederationNamesTheFix(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*sim.FederatedCredential)
		code  int
	}{
		"issuer":   {func(f *sim.FederatedCredential) { f.Issuer = "https://issuer.example" }, 700211},
		"subject":  {func(f *sim.FederatedCredential) { f.Subject = "the client id by mistake" }, 700213},
		"audience": {func(f *sim.FederatedCredential) { f.Audience = usGovCloud.ExchangeAudience }, 700212},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			i := e.newIdentityEndpoint()
			trust := e.Federation(i.ManagedIdentity)
			test.spoil(&trust)
			e.reconfigure(func(a *sim.App) { a.Federated = []sim.FederatedCredential{trust} })
			f := e.exchangeError(e.client(i.use))
			if f.AADSTS != test.code || f.Kind != Misconfigured || !strings.Contains(f.NextStep, name) {
				t.Errorf("got %v: %s", f, f.NextStep)
			}
		})
	}
}

func TestManagedIdentityErrorsNameTheSettingOrWait(t *testing.T) {
	e := newTenant(t)
	i := e.newIdentityEndpoint()
	c := e.client(i.use)
	i.fail.Store(http.StatusBadRequest)
	if f := e.refreshError(c); f.Kind != Misconfigured || !strings.Contains(f.NextStep, "ENTRA_MANAGED_IDENTITY_CLIENT_ID") {
		t.Errorf("a missing identity gives %v", f)
	}
	i.fail.Store(http.StatusServiceUnavailable)
	if f := e.refreshError(c); f.Kind != Unavailable {
		t.Errorf("an outage gives %v", f)
	}
}

func TestWrongCredentialNamesTheSetting(t *testing.T) {
	for code, setting := range map[int]string{
		7000215: "ENTRA_CLIENT_SECRET", 7000222: "ENTRA_CLIENT_SECRET", 700027: "ENTRA_CLIENT_CERTIFICATE_PATH",
		70021: "ENTRA_MANAGED_IDENTITY_CLIENT_ID", 700211: "ENTRA_TENANT_ID", 700212: "ENTRA_AUTHORITY",
		700213: "ENTRA_MANAGED_IDENTITY_CLIENT_ID", 700016: "ENTRA_CLIENT_ID",
		7999999: "ENTRA_CLIENT_SECRET", // unknown: the credential in use
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			e := newTenant(t)
			e.respond = func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_client", code) }
			f := e.refreshError(e.client())
			if f.Kind != Misconfigured || f.AADSTS != code || !strings.Contains(f.NextStep, setting) {
				t.Errorf("error is %v, next step %q", f, f.NextStep)
			}
			if f.EndsGrant() || f.AtToken().Status() != http.StatusServiceUnavailable {
				t.Error("an operator's mistake ended the grant")
			}
		})
	}
}
