package tenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Options of New.
type Options struct {
	// BaseURL is the origin under which the caller serves the tenant, such as
	// http://localhost:7072. It is the authority, and every URL and issuer
	// derives from it. MSAL insists on https.
	BaseURL string
	// State names a file that keeps keys and consents between runs; empty
	// keeps them in memory only.
	State string
	// SigningKey is the first key; nil makes one, which takes a while. Where
	// many tenants are made and their keys do not matter, it is SharedKey.
	SigningKey *rsa.PrivateKey
	// External makes it an external tenant (External ID): its issuer is on a
	// host of its own, users cannot consent, and a refresh token ends after 12
	// hours without use.
	External bool
	Now      func() time.Time
	Log      *slog.Logger
}

// Tenant is the simulated service: sign-in pages, the v2.0 endpoints and the
// some calls of Graph. It is safe for concurrent use.
type Tenant struct {
	base     string
	clock    func() time.Time
	log      *slog.Logger
	external bool
	mux      *http.ServeMux
	path     string

	mu       sync.Mutex
	users    []*User
	apps     map[string]*App     // by lower-case client id
	sessions map[string]*session // by cookie value
	signIns  map[string]*session // by sid, outlives the cookie
	codes    map[string]*code
	consents map[string][]string // "oid client resource" → scopes
	assigned map[string][]string // "principal client" → application roles
	keys     []*signingKey       // the first signs
	seal     []byte              // key of refresh tokens
	faults   faults
	seen     []Seen

	forgotten time.Time // when forget last looked
}

// New makes a tenant with the default directory, the sample accounts.
func New(o Options) (*Tenant, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || (base.Path != "" && base.Path != "/") {
		return nil, fmt.Errorf("simulated tenant: BaseURL %q is not an origin", o.BaseURL)
	}
	t := &Tenant{
		base:     strings.TrimSuffix(o.BaseURL, "/"),
		clock:    o.Now,
		external: o.External,
		log:      o.Log,
		path:     o.State,
		users:    defaultUsers(),
		apps:     map[string]*App{},
		sessions: map[string]*session{},
		signIns:  map[string]*session{},
		codes:    map[string]*code{},
		consents: map[string][]string{},
		assigned: map[string][]string{},
	}
	if t.clock == nil {
		t.clock = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if err := t.load(o.SigningKey); err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	t.mux = t.routes()
	return t, nil
}

func (t *Tenant) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", t.discovery)
	m.HandleFunc("GET /{tenant}/discovery/v2.0/keys", t.jwks)
	m.HandleFunc("/{tenant}/oauth2/v2.0/authorize", t.authorize)
	m.HandleFunc("/{tenant}/oauth2/v2.0/token", t.token)
	m.HandleFunc("GET /{tenant}/v2.0/adminconsent", t.adminConsent)
	m.HandleFunc("POST /{tenant}/v2.0/adminconsent", t.adminConsent)
	m.HandleFunc("GET /{tenant}/oauth2/v2.0/logout", t.logout)
	t.graphRoutes(m)
	m.HandleFunc("GET /{$}", t.home)
	return m
}

// ServeHTTP serves the authority and Graph.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Ms-Request-Id", t.guid())
	w.Header().Set("Date", t.now().UTC().Format(http.TimeFormat))
	if t.fail(w, r) {
		return
	}
	t.mux.ServeHTTP(w, r)
}

// now is the tenant's own clock, skewed if a test said so.
func (t *Tenant) now() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock().Add(t.faults.skew)
}

// at is now for callers that hold mu.
func (t *Tenant) at() time.Time { return t.clock().Add(t.faults.skew) }

// bytes are n random bytes.
func (t *Tenant) bytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func (t *Tenant) guid() string {
	return guidOf(t.bytes(16))
}

// guidOf writes 16 bytes as a GUID (RFC 9562 §5.4).
func guidOf(b []byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// discovery serves the OpenID configuration. For organizations and common the
// issuer is Entra's template with {tenantid} left in, which no generic OIDC
// library accepts (entra-docs: v2-protocols-oidc).
func (t *Tenant) discovery(w http.ResponseWriter, r *http.Request) {
	realm, ok := t.realm(r.PathValue("tenant"))
	if !ok {
		t.writeRefusal(w, r, refuse(90002, r.PathValue("tenant")))
		return
	}
	at := t.base + "/" + r.PathValue("tenant")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                t.issuer(realm.tenant),
		"authorization_endpoint":                at + "/oauth2/v2.0/authorize",
		"token_endpoint":                        at + "/oauth2/v2.0/token",
		"end_session_endpoint":                  at + "/oauth2/v2.0/logout",
		"jwks_uri":                              at + "/discovery/v2.0/keys",
		"userinfo_endpoint":                     t.base + "/oidc/userinfo",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"request_uri_parameter_supported":       false,
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce",
			"preferred_username", "name", "tid", "ver", "email"},
		"tenant_region_scope":   nil,
		"cloud_instance_name":   "simulated",
		"cloud_graph_host_name": "graph.microsoft.com",
		"msgraph_host":          "graph.microsoft.com",
	})
}

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

// SharedKey is one key for all tenants of a process that ask for it.
var SharedKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // of the arguments alone
	}
	return key
})

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

// unsigned is a JWT before its signature, which takes a millisecond and needs
// no lock.
type unsigned struct {
	*jwt.Token
	text string // header and claims, encoded
	key  *rsa.PrivateKey
}

func (u unsigned) sign() (string, error) {
	signature, err := u.Method.Sign(u.text, u.key)
	return u.text + "." + u.EncodeSegment(signature), err
}

// compose makes a JWT for the newest key; the caller holds mu.
func (t *Tenant) compose(claims jwt.MapClaims, v1 bool) (unsigned, error) {
	key := t.keys[0]
	if t.faults.forge != nil {
		t.faults.forge(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = key.kid
	if v1 {
		token.Header["x5t"] = key.kid // entra-docs: access-token-claims-reference, only in v1.0
	}
	text, err := token.SigningString()
	return unsigned{token, text, key.private}, err
}

// sign makes and signs a JWT; the caller holds mu.
func (t *Tenant) sign(claims jwt.MapClaims, v1 bool) (string, error) {
	token, err := t.compose(claims, v1)
	if err != nil {
		return "", err
	}
	return token.sign()
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
	realm, ok := t.realm(r.PathValue("tenant"))
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
