package entra

import (
	"context"
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

// verifyAssertion does what the documentation of certificate credentials asks
// of Entra, and returns what is wrong.
func verifyAssertion(e *tenant, form url.Values, cert *x509.Certificate, seen map[string]bool) string {
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

func TestCertificateSignsAssertionsAndIsReadAgainWhenItChanges(t *testing.T) {
	e := newTenant(t)
	path := filepath.Join(t.TempDir(), "client.pem")
	seen := map[string]bool{}
	cert := writeCertificate(t, path, signingKeys()[0], 1, e.clock.Now())
	e.verify = func(form url.Values) string { return verifyAssertion(e, form, cert, seen) }
	c := e.client(func(cfg *Config) { cfg.Secret, cfg.CertificatePath = "", path })
	for range 2 {
		if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
			t.Fatal(err)
		}
	}

	renewed := writeCertificate(t, path, signingKeys()[1], 2, e.clock.Now().Add(time.Minute))
	e.set(func() { cert = renewed })
	if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
		t.Fatalf("after the renewal: %v", err)
	}

	if err := os.WriteFile(path, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
		t.Fatalf("a file caught half-written stopped sign-ins: %v", err)
	}
}

func TestCertificateThatCannotBeReadNamesTheSetting(t *testing.T) {
	e := newTenant(t)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"missing":       {CertificatePath: filepath.Join(t.TempDir(), "none.pem")},
		"garbage":       {CertificatePath: garbage},
		"wrong secret":  {CertificatePath: "testdata/legacy.pfx", CertificatePassword: "wrong"},
		"PBES2 not yet": {CertificatePath: "testdata/aes.pfx", CertificatePassword: "open-sesame"},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.client(func(c *Config) {
				c.Secret, c.CertificatePath, c.CertificatePassword = "", cfg.CertificatePath, cfg.CertificatePassword
			})
			f := exchangeFailure(t, c)
			if f.Kind != Misconfigured || f.EndsGrant() || !strings.Contains(f.NextStep, "ENTRA_CLIENT_CERTIFICATE_PATH") {
				t.Errorf("failure is %v: %s", f, f.NextStep)
			}
		})
	}
}

func TestPFXIsRead(t *testing.T) {
	cert, err := readCertificate("testdata/legacy.pfx", "open-sesame")
	if err != nil {
		t.Fatal(err)
	}
	if cert.key == nil || cert.thumbprint == "" {
		t.Error("the key or the thumbprint is missing")
	}
}

// identityEndpoint is App Service's managed identity endpoint.
// https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
type identityEndpoint struct {
	t        *testing.T
	identity string
	resource string
	lifetime time.Duration
	calls    atomic.Int32
	fail     atomic.Int32 // status to answer instead
}

func (i *identityEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := i.calls.Add(1)
	if status := int(i.fail.Load()); status != 0 {
		answerJSON(w, status, map[string]any{"statusCode": status, "message": "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."})
		return
	}
	q := r.URL.Query()
	want := url.Values{"api-version": {"2019-08-01"}, "resource": {i.resource}, "client_id": {i.identity}}
	if q.Encode() != want.Encode() || r.Header.Get("X-IDENTITY-HEADER") != "identity-header" || r.Method != http.MethodGet {
		i.t.Errorf("identity request is %s %s", r.Method, r.URL)
		answerJSON(w, 400, map[string]any{"statusCode": 400, "message": "bad request"})
		return
	}
	answerJSON(w, 200, map[string]any{
		"access_token": "identity-token-" + strconv.Itoa(int(n)), "token_type": "Bearer", "resource": i.resource, "client_id": i.identity,
		"expires_on": strconv.FormatInt(time.Now().Add(i.lifetime).Unix(), 10),
	})
}

// newIdentityEndpoint serves an identity of its own: MSAL caches identities'
// tokens for the whole process.
func newIdentityEndpoint(t *testing.T) *identityEndpoint {
	t.Helper()
	id, err := newUUID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &identityEndpoint{t: t, identity: id, resource: "api://AzureADTokenExchange", lifetime: 24 * time.Hour}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "identity-header")
	return i
}

func (i *identityEndpoint) use(cfg *Config) { cfg.Secret, cfg.ManagedIdentityClientID = "", i.identity }

func TestManagedIdentityIsTheClientAssertionAndCached(t *testing.T) {
	i := newIdentityEndpoint(t)
	e := newTenant(t)
	e.clock.t = time.Now()
	e.verify = func(form url.Values) string {
		if form.Get("client_assertion_type") != jwtBearer || !strings.HasPrefix(form.Get("client_assertion"), "identity-token-") || form.Has("client_secret") {
			return "the identity's token is not the assertion"
		}
		return ""
	}
	c := e.client(i.use)
	for range 3 {
		if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
			t.Fatal(err)
		}
	}
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d calls to the identity endpoint, want 1", n)
	}
}

func TestManagedIdentityIsRenewedEarlyAndServesThroughAnOutage(t *testing.T) {
	i := newIdentityEndpoint(t)
	// azidentity takes a token with less than five minutes left for expired.
	i.lifetime = 4 * time.Minute
	e := newTenant(t)
	e.clock.t = time.Now()
	var sent []string
	e.verify = func(form url.Values) string { sent = append(sent, form.Get("client_assertion")); return "" }
	c := e.client(i.use)
	for _, status := range []int32{0, 0, http.StatusInternalServerError} {
		i.fail.Store(status)
		if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(sent, " ") != "identity-token-1 identity-token-2 identity-token-2" {
		t.Errorf("assertions were %v", sent)
	}
	e.clock.advance(5 * time.Minute)
	if f := exchangeFailure(t, c); f.Kind != Unavailable {
		t.Errorf("an expired token was used: %v", f)
	}
}

func TestManagedIdentityFailuresNameTheSettingOrWait(t *testing.T) {
	i := newIdentityEndpoint(t)
	e := newTenant(t)
	c := e.client(i.use)
	i.fail.Store(http.StatusBadRequest)
	if f := exchangeFailure(t, c); f.Kind != Misconfigured || !strings.Contains(f.NextStep, "ENTRA_MANAGED_IDENTITY_CLIENT_ID") {
		t.Errorf("a missing identity gives %v", f)
	}
	i.fail.Store(http.StatusServiceUnavailable)
	if f := exchangeFailure(t, c); f.Kind != Unavailable {
		t.Errorf("an outage gives %v", f)
	}
}

func TestExchangeAudienceFollowsTheCloud(t *testing.T) {
	for authority, want := range map[string]string{
		PublicCloud: "api://AzureADTokenExchange", USGovCloud: "api://AzureADTokenExchangeUSGov", ChinaCloud: "api://AzureADTokenExchangeChina",
	} {
		if got := exchangeAudience(authority); got != want {
			t.Errorf("%s: %s, want %s", authority, got, want)
		}
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
			f := exchangeFailure(t, e.client())
			if f.Kind != Misconfigured || f.AADSTS != code || !strings.Contains(f.NextStep, setting) {
				t.Errorf("failure is %v, next step %q", f, f.NextStep)
			}
			if f.EndsGrant() || f.AtToken().Status() != http.StatusServiceUnavailable {
				t.Error("an operator's mistake ended the grant")
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewJSONHandler(&out, nil))
	s := Secret("hush-hush")
	log.Info("x", "secret", s, "config", Config{Secret: s, CertificatePassword: s},
		"callback", Callback{Code: "hush-hush", Verifier: "hush-hush"}, "sign-in", SignIn{RefreshToken: "hush-hush", AccessToken: "hush-hush"})
	fmt.Fprintf(&out, "%v %+v %#v %s %v %#v", s, s, s, Config{Secret: s}, secretCredential(s), secretCredential(s))
	fmt.Fprintf(&out, "%v %+v %#v", SignIn{RefreshToken: "hush-hush", AccessToken: "hush-hush"}, Callback{Code: "hush-hush"}, Config{Secret: s})
	if strings.Contains(out.String(), "hush-hush") {
		t.Errorf("a secret was printed: %s", out.String())
	}
}
