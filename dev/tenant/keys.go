package tenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signingKey is an RSA key with the certificate Entra publishes beside it.
type signingKey struct {
	private *rsa.PrivateKey
	der     []byte
	kid     string // the certificate's SHA-1 thumbprint, as Entra's kids are
	hidden  bool   // signs, or did, but is not published
}

func newSigningKey() (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return certify(private)
}

func certify(private *rsa.PrivateKey) (*signingKey, error) {
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "simulated tenant"},
		NotBefore:    from,
		NotAfter:     from.AddDate(50, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, private.Public(), private)
	if err != nil {
		return nil, err
	}
	thumbprint := sha1.Sum(der)
	return &signingKey{private: private, der: der, kid: base64.RawURLEncoding.EncodeToString(thumbprint[:])}, nil
}

// sign makes a JWT with the newest key; the caller holds mu.
func (t *Tenant) sign(claims jwt.MapClaims, v1 bool) (string, error) {
	key := t.keys[0]
	if t.faults.forge != nil {
		t.faults.forge(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = key.kid
	if v1 {
		token.Header["x5t"] = key.kid // entra-docs: access-token-claims-reference, only in v1.0
	}
	return token.SignedString(key.private)
}

// parse verifies a JWT of our own; the caller holds mu. Which issuer and
// audience it may have is the caller's business.
func (t *Tenant) parse(raw string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(t.at), jwt.WithLeeway(5*time.Minute))
	_, err := parser.ParseWithClaims(raw, claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		i := slices.IndexFunc(t.keys, func(k *signingKey) bool { return k.kid == kid })
		if i < 0 {
			return nil, fmt.Errorf("unknown key")
		}
		return t.keys[i].private.Public(), nil
	})
	return claims, err
}

// jwks publishes the keys. At an alias each key names the issuer by template,
// so that a client can tell whose tokens it may verify.
func (t *Tenant) jwks(w http.ResponseWriter, r *http.Request) {
	realm, ok := realmOf(r.PathValue("tenant"))
	if !ok {
		t.writeRefusal(w, r, refuse(90002, r.PathValue("tenant")))
		return
	}
	t.mu.Lock()
	published := []map[string]any{}
	for _, key := range t.keys {
		if key.hidden {
			continue
		}
		published = append(published, map[string]any{
			"kty": "RSA", "use": "sig", "kid": key.kid, "x5t": key.kid,
			"n":                   base64.RawURLEncoding.EncodeToString(key.private.N.Bytes()),
			"e":                   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.private.E)).Bytes()),
			"x5c":                 []string{base64.StdEncoding.EncodeToString(key.der)},
			"cloud_instance_name": "simulated",
			"issuer":              t.issuer(realm.tenant),
		})
	}
	t.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"keys": published})
}

// RollKeys makes a new key the one that signs. The old ones stay published
// unless withdraw is set, which is what a compromise looks like: tokens they
// signed can no longer be verified by anyone who asks again.
func (t *Tenant) RollKeys(withdraw bool) error {
	key, err := newSigningKey()
	if err != nil {
		return fmt.Errorf("simulated tenant: new key: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if withdraw {
		t.keys = nil
	}
	t.keys = append([]*signingKey{key}, t.keys...)
	return t.save()
}

// HideNewestKey keeps the key that signs out of the published set until the
// next RollKeys or ShowKeys: a JWKS that lags behind.
func (t *Tenant) HideNewestKey() { t.hide(true) }

// ShowKeys ends HideNewestKey.
func (t *Tenant) ShowKeys() { t.hide(false) }

func (t *Tenant) hide(newest bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, key := range t.keys {
		key.hidden = newest && i == 0
	}
}
