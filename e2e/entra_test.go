package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/entra"
)

const (
	entraSecret   = "correct-horse-battery-staple"
	entraCallback = "http://localhost:7071/auth/callback"
	entraVerifier = "0123456789012345678901234567890123456789abc"
	entraScope    = "api://" + tenant.DefaultClientID + "/" + tenant.DefaultScope
	graphUserRead = "https://graph.microsoft.com/User.Read"
)

// entraWorld is the simulated tenant on loopback with one app registration.
type entraWorld struct {
	*tenant.Tenant
	t   *testing.T
	url string
}

func startEntra(t *testing.T, edits ...func(*tenant.App)) *entraWorld {
	t.Helper()
	w := &entraWorld{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	var err error
	w.url = server.URL
	if w.Tenant, err = tenant.New(tenant.Options{BaseURL: server.URL}); err != nil {
		t.Fatal(err)
	}
	app := tenant.App{
		ClientID: tenant.DefaultClientID, Name: "MCP server", Secrets: []tenant.Secret{{Value: entraSecret}}, RedirectURIs: []string{entraCallback},
		Scopes: []string{tenant.DefaultScope}, AppRoles: []string{"Mcp.Admin", "Mcp.Reader"}, TokenVersion: 2,
	}
	for _, edit := range edits {
		edit(&app)
	}
	if err := w.Register(app); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *entraWorld) client(edits ...func(*entra.Config)) *entra.Client {
	w.t.Helper()
	cfg := entra.Config{
		Tenant: tenant.Contoso, ClientID: tenant.DefaultClientID, Secret: entraSecret, APIScope: entraScope,
		Authority: w.url, RedirectURI: entraCallback, Timeout: 3 * time.Second,
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	c, err := entra.New(cfg, entra.Deps{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// callbackFor signs username in as a browser would and returns the query of
// the callback.
func (w *entraWorld) callbackFor(c *entra.Client, username, claims string) url.Values {
	w.t.Helper()
	challenge := sha256.Sum256([]byte(entraVerifier))
	address, err := c.AuthorizeURL(context.Background(), entra.AuthorizeRequest{
		State: "the-state", Nonce: "the-nonce", Challenge: base64.RawURLEncoding.EncodeToString(challenge[:]), Claims: claims,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	back, err := tenant.SignIn(context.Background(), &http.Client{Jar: jar, Timeout: 10 * time.Second}, address, username)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	if q := u.Query(); q.Get("state") != "the-state" {
		w.t.Fatalf("the state is lost: %s", back)
	}
	return u.Query()
}

func (w *entraWorld) exchange(c *entra.Client, q url.Values) (entra.SignIn, error) {
	w.t.Helper()
	if f := c.FromRedirect(q); f != nil {
		return entra.SignIn{}, f
	}
	return c.Exchange(context.Background(), entra.Callback{Code: q.Get("code"), Verifier: entraVerifier, Nonce: "the-nonce"})
}

func (w *entraWorld) signIn(c *entra.Client, username string) entra.SignIn {
	w.t.Helper()
	s, err := w.exchange(c, w.callbackFor(c, username, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// certificateFile makes a certificate for the app and writes it with its key.
func certificateFile(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "mcp server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	for _, block := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: private}, {Type: "CERTIFICATE", Bytes: der}} {
		if err := pem.Encode(&file, block); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// newIdentity is an identity nobody has used: MSAL caches identities' tokens
// for the whole process.
func newIdentity() tenant.ManagedIdentity {
	return tenant.ManagedIdentity{ClientID: "client-" + rand.Text(), Principal: "principal-" + rand.Text(), Header: "identity-header"}
}

// serveIdentity is a machine with a managed identity, as App Service shows it.
func (w *entraWorld) serveIdentity(id tenant.ManagedIdentity) {
	w.t.Helper()
	server := httptest.NewServer(w.ManagedIdentity(id))
	w.t.Cleanup(server.Close)
	w.t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	w.t.Setenv("IDENTITY_HEADER", id.Header)
}

func TestEntraSignInRenewalAndGraphWithEachCredential(t *testing.T) {
	identity := newIdentity()
	for name, setUp := range map[string]func(*testing.T) (*entraWorld, *entra.Client){
		"secret": func(t *testing.T) (*entraWorld, *entra.Client) { w := startEntra(t); return w, w.client() },
		"certificate": func(t *testing.T) (*entraWorld, *entra.Client) {
			path := filepath.Join(t.TempDir(), "client.pem")
			cert := certificateFile(t, path)
			w := startEntra(t, func(a *tenant.App) { a.Secrets, a.Certificates = nil, []*x509.Certificate{cert} })
			return w, w.client(func(c *entra.Config) { c.Secret, c.CertificatePath = "", path })
		},
		"managed identity": func(t *testing.T) (*entraWorld, *entra.Client) {
			w := startEntra(t, func(a *tenant.App) { a.Secrets = nil })
			if err := w.Reconfigure(tenant.DefaultClientID, func(a *tenant.App) {
				a.Federated = []tenant.FederatedCredential{w.Federation(identity)}
			}); err != nil {
				t.Fatal(err)
			}
			w.serveIdentity(identity)
			return w, w.client(func(c *entra.Config) { c.Secret, c.ManagedIdentityClientID = "", identity.ClientID })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := setUp(t)
			if err := c.Ready(context.Background()); err != nil {
				t.Fatal(err)
			}
			s := w.signIn(c, tenant.Alice)
			if s.Claims.TenantID != tenant.Contoso || s.Claims.Username != tenant.Alice || len(s.Claims.Roles) != 2 {
				t.Errorf("claims are %+v", s.Claims)
			}
			renewed, err := c.Refresh(context.Background(), s.RefreshToken)
			if err != nil {
				t.Fatal(err)
			}
			if renewed.Claims != nil && renewed.Claims.ObjectID != s.Claims.ObjectID {
				t.Error("the renewal is somebody else's")
			}
			if err := w.GrantConsent(tenant.Alice, tenant.DefaultClientID, graphUserRead); err != nil {
				t.Fatal(err)
			}
			token, err := entra.NewOnBehalfOf(c).Token(context.Background(), held{renewed}, graphUserRead)
			if err != nil {
				t.Fatal(err)
			}
			if name := w.graphName(token.Reveal()); name != "Alice Ames" {
				t.Errorf("Graph knows the user as %q", name)
			}
		})
	}
}

// held is a sign-in that nobody stores.
type held struct{ entra.SignIn }

func (held) ID() string { return "held" }

func (h held) Tokens(context.Context) (entra.Assertion, error) {
	return entra.Assertion{AccessToken: h.AccessToken, Expires: h.AccessTokenExpires, RefreshToken: h.RefreshToken}, nil
}

func (held) Renewed(context.Context, entra.SignIn) error { return nil }

func (held) Challenged(context.Context, string) {}

func (w *entraWorld) graphName(token string) string {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.url+"/v1.0/me", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var profile struct {
		DisplayName string `json:"displayName"`
	}
	if err := json.NewDecoder(res.Body).Decode(&profile); err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("Graph answers %s: %v", res.Status, err)
	}
	return profile.DisplayName
}

func TestEntraNeverGetsWhatItRefuses(t *testing.T) {
	w := startEntra(t)
	c := w.client()
	s := w.signIn(c, tenant.Alice)
	if _, err := c.Refresh(context.Background(), s.RefreshToken); err != nil {
		t.Fatal(err)
	}
	for _, seen := range w.Requests() {
		if seen.Form.Has("resource") || seen.Form.Has("prompt") {
			t.Errorf("%s got %v", seen.Endpoint, seen.Form)
		}
	}
}
