package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
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
	"entramcp/e2e/stack"
)

// pemFile is a certificate with its key, as a file and parsed.
type pemFile struct {
	path string
	cert *x509.Certificate
}

func certificate(t *testing.T) pemFile {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mcp server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	path := filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return pemFile{path, parsed}
}

// TestACertificateIsACredential, which can be replaced while the server runs.
func TestACertificateIsACredential(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	s := stack.Start(t, stack.Options{Env: map[string]string{"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_CERTIFICATE_PATH": cert.path}})
	reconfigure(t, s, func(a *tenant.App) { a.Secrets, a.Certificates = nil, append(a.Certificates, cert.cert) })
	a := newApp(t, s, stack.Alice).signIn("openid")
	if answer := a.renew(); answer.Status != http.StatusOK {
		t.Errorf("renewal: %+v", answer)
	}
}

// TestAManagedIdentityIsACredential: no secret exists. azidentity gets the
// identity's token from the endpoint that App Service gives to the process.
func TestAManagedIdentityIsACredential(t *testing.T) {
	t.Parallel()
	identity := tenant.ManagedIdentity{ClientID: "3c9a52a1-0000-4000-8000-00000000de71", Principal: "3c9a52a1-0000-4000-8000-0000000b1ec7", Header: "only this app knows"}
	endpoint := httptest.NewUnstartedServer(nil)
	address := &url.URL{Scheme: "http", Host: endpoint.Listener.Addr().String(), Path: "/msi/token"}
	s := stack.Start(t, stack.Options{Env: map[string]string{
		"ENTRA_CLIENT_SECRET": "", "ENTRA_MANAGED_IDENTITY_CLIENT_ID": identity.ClientID,
		"IDENTITY_ENDPOINT": address.String(), "IDENTITY_HEADER": identity.Header,
	}})
	endpoint.Config.Handler = s.Tenant.ManagedIdentity(identity)
	endpoint.Start()
	t.Cleanup(endpoint.Close)
	reconfigure(t, s, func(a *tenant.App) {
		a.Secrets, a.Federated = nil, []tenant.FederatedCredential{s.Tenant.Federation(identity)}
	})
	a := newApp(t, s, stack.Alice).signIn("openid")
	if answer := a.renew(); answer.Status != http.StatusOK {
		t.Errorf("renewal: %+v", answer)
	}
	another := newApp(t, s, stack.Alice).signIn("openid")
	// An identity that the app registration does not trust: the operator's
	// mistake signs nobody out.
	reconfigure(t, s, func(a *tenant.App) { a.Federated[0].Subject = "3c9a52a1-0000-4000-8000-00000000dead" })
	if answer := another.renew(); answer.Status != http.StatusServiceUnavailable || !strings.Contains(answer.Member("error_description"), "AADSTS70021") {
		t.Errorf("renewal with an identity that is not trusted: %+v", answer)
	}
}
