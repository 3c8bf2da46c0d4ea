package entra

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// assertionLifetime follows the documented "5-10 minutes after nbf at most".
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
const assertionLifetime = 5 * time.Minute

// certificateCredential signs a client assertion (RFC 7523 §2.2) with a
// certificate's key. It reads the file again when the file changes, so that a
// renewed certificate needs no restart.
type certificateCredential struct {
	path     string
	password Secret
	clientID string
	deps     Deps

	mu      sync.Mutex
	version fileVersion
	loaded  certificate
}

type certificate struct {
	key        *rsa.PrivateKey
	thumbprint string // x5t#S256, RFC 7515 §4.1.8
	expires    time.Time
}

// CertificateFile says which files can be read. By default OpenSSL 3 encrypts PFX
// files with PBES2, which golang.org/x/crypto/pkcs12 cannot read.
const CertificateFile = "a PEM file with the certificate and its RSA private key, or a PFX file in the older encryption (openssl pkcs12 -export -legacy)."

// fileVersion changes when the content of a file does.
type fileVersion struct {
	modified time.Time
	size     int64
}

func (*certificateCredential) setting() string { return "ENTRA_CLIENT_CERTIFICATE_PATH" }

func (c *certificateCredential) authenticate(ctx context.Context, form url.Values, tokenEndpoint string) error {
	cert, err := c.current(ctx)
	if err != nil {
		return credentialUnusable("The certificate this server signs in with cannot be read.",
			"The administrator checks ENTRA_CLIENT_CERTIFICATE_PATH: "+CertificateFile, err)
	}
	assertion, err := cert.assert(c.clientID, tokenEndpoint, c.deps.Now())
	if err != nil {
		return credentialUnusable("The certificate this server signs in with cannot sign.",
			"The administrator checks ENTRA_CLIENT_CERTIFICATE_PATH.", err)
	}
	setAssertion(form, assertion)
	return nil
}

func (c *certificateCredential) current(ctx context.Context) (certificate, error) {
	info, err := os.Stat(c.path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		version := fileVersion{info.ModTime(), info.Size()}
		if c.loaded.key != nil && version == c.version {
			return c.loaded, nil
		}
		var fresh certificate
		if fresh, err = readCertificate(c.path, c.password); err == nil {
			c.loaded, c.version = fresh, version
			return fresh, nil
		}
	}
	if c.loaded.key == nil {
		return certificate{}, err
	}
	// While the file is being replaced, sign-ins must go on with the certificate in
	// memory.
	c.deps.Log.WarnContext(ctx, "the changed certificate cannot be read; the one in memory is still used", "cause", err)
	return c.loaded, nil
}

func readCertificate(path string, password Secret) (certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return certificate{}, err
	}
	certs, private, err := azidentity.ParseCertificates(data, []byte(password.Reveal()))
	if err != nil {
		return certificate{}, err
	}
	key, ok := private.(*rsa.PrivateKey)
	if !ok {
		return certificate{}, fmt.Errorf("the private key is %T; Entra accepts RSA keys only", private)
	}
	leaf, err := leafOf(certs, key)
	if err != nil {
		return certificate{}, err
	}
	sum := sha256.Sum256(leaf.Raw)
	return certificate{key: key, thumbprint: base64.RawURLEncoding.EncodeToString(sum[:]), expires: leaf.NotAfter}, nil
}

// leafOf finds the certificate of key; files list chains in any order.
func leafOf(certs []*x509.Certificate, key *rsa.PrivateKey) (*x509.Certificate, error) {
	for _, cert := range certs {
		if key.PublicKey.Equal(cert.PublicKey) {
			return cert, nil
		}
	}
	return nil, errors.New("no certificate in the file belongs to its private key")
}

func (c certificate) assert(clientID, audience string, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.RegisteredClaims{
		Issuer: clientID, Subject: clientID, Audience: jwt.ClaimStrings{audience}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(assertionLifetime)),
	})
	token.Header["x5t#S256"] = c.thumbprint
	return token.SignedString(c.key)
}
