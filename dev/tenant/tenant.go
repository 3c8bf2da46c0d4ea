package tenant

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
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
	// SigningKey is the first key; nil makes one, which takes a while.
	SigningKey *rsa.PrivateKey
	Now        func() time.Time
	Log        *slog.Logger
}

// Tenant is the simulated service: sign-in pages, the v2.0 endpoints and the
// one Graph call that matters. It is safe for concurrent use.
type Tenant struct {
	base  string
	clock func() time.Time
	log   *slog.Logger
	mux   *http.ServeMux
	path  string

	mu         sync.Mutex
	users      []*User
	apps       map[string]*App // by lower-case client id
	identities map[string]ManagedIdentity
	sessions   map[string]*session // by cookie value
	signIns    map[string]*session // by sid, outlives the cookie
	codes      map[string]*code
	consents   map[string][]string // "oid client resource" → scopes
	assigned   map[string][]string // "principal client" → application roles
	keys       []*signingKey       // the first signs
	seal       []byte              // key of refresh tokens
	faults     faults
	seen       []Seen
}

// New makes a tenant with the default directory: see Users.
func New(o Options) (*Tenant, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || (base.Path != "" && base.Path != "/") {
		return nil, fmt.Errorf("simulated tenant: BaseURL %q is not an origin", o.BaseURL)
	}
	t := &Tenant{
		base:       strings.TrimSuffix(o.BaseURL, "/"),
		clock:      o.Now,
		log:        o.Log,
		path:       o.State,
		users:      defaultUsers(),
		apps:       map[string]*App{},
		identities: map[string]ManagedIdentity{},
		sessions:   map[string]*session{},
		signIns:    map[string]*session{},
		codes:      map[string]*code{},
		consents:   map[string][]string{},
		assigned:   map[string][]string{},
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
	m.HandleFunc("GET /oidc/userinfo", t.userinfo)
	m.HandleFunc("GET /v1.0/me", t.me)
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
