package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testTenant   = "11111111-2222-3333-4444-555555555555"
	otherTenant  = "99999999-2222-3333-4444-555555555555"
	testClient   = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	testUser     = "00000000-0000-0000-0000-00000000000a"
	testCallback = "http://localhost:8080/auth/callback"
	testScope    = "api://" + testClient + "/mcp.access"
	testNonce    = "the-nonce"
	testVerifier = "a-code-verifier-that-is-long-enough-for-rfc-7636-4-1"
)

// signingKeys are made once: 2048-bit keys are slow to find.
var signingKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 2)
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = k
	}
	return keys
})

// testClock is a clock that a test moves.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// tenant is a small Entra: discovery, keys and a token endpoint that refuses
// whatever the documentation says Entra refuses.
type tenant struct {
	t      *testing.T
	server *httptest.Server
	clock  *testClock

	mu        sync.Mutex
	issuer    string // issuer in the metadata; default of testTenant
	published map[string]*rsa.PrivateKey
	keyIssuer string // "issuer" member of published keys
	signWith  string // kid
	down      bool
	fetches   map[string]int // by path suffix
	requests  []url.Values   // token requests
	paths     []string       // of token requests
	headers   []http.Header
	claims    func(jwt.MapClaims) // last touch on an ID token
	respond   http.HandlerFunc    // replaces the token endpoint
	authorize http.HandlerFunc    // answers at the authorize endpoint
	noIDToken bool
	rotate    bool // a renewal brings another refresh token
	verify    func(url.Values) string
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	e := &tenant{
		t: t, clock: &testClock{t: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)},
		published: map[string]*rsa.PrivateKey{"key-0": signingKeys()[0]}, signWith: "key-0",
		fetches: map[string]int{},
	}
	e.server = httptest.NewServer(e)
	t.Cleanup(e.server.Close)
	e.issuer = e.server.URL + "/" + testTenant + "/v2.0"
	return e
}

func (e *tenant) config() Config {
	return Config{
		Tenant: testTenant, ClientID: testClient, Secret: "s3cret-value", APIScope: testScope,
		Authority: e.server.URL, RedirectURI: testCallback, Timeout: 2 * time.Second,
	}
}

func (e *tenant) client(change ...func(*Config)) *Client {
	e.t.Helper()
	cfg := e.config()
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg, Deps{Now: e.clock.Now})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *tenant) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *tenant) fetched(suffix string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fetches[suffix]
}

func (e *tenant) lastRequest() (url.Values, http.Header) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.requests) == 0 {
		e.t.Fatal("no token request arrived")
	}
	return e.requests[len(e.requests)-1], e.headers[len(e.headers)-1]
}

func (e *tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	e.fetches[rest]++
	if e.down {
		http.Error(w, "<html>down</html>", http.StatusBadGateway)
		return
	}
	switch rest {
	case "v2.0/.well-known/openid-configuration":
		base := e.server.URL + "/" + strings.SplitN(r.URL.Path, "/", 3)[1]
		answerJSON(w, 200, map[string]any{
			"issuer": e.issuer, "authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"token_endpoint": base + "/oauth2/v2.0/token", "jwks_uri": base + "/discovery/v2.0/keys",
		})
	case "discovery/v2.0/keys":
		var keys []map[string]any
		for kid, k := range e.published {
			keys = append(keys, jwkOf(kid, k, e.keyIssuer))
		}
		answerJSON(w, 200, map[string]any{"keys": keys})
	case "oauth2/v2.0/token":
		e.token(w, r)
	case "oauth2/v2.0/authorize":
		if e.authorize != nil {
			e.authorize(w, r)
		}
	default:
		http.NotFound(w, r)
	}
}

func jwkOf(kid string, k *rsa.PrivateKey, issuer string) map[string]any {
	m := map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid,
		"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}
	if issuer != "" {
		m["issuer"] = issuer
	}
	return m
}

// allowedParameters are those each grant documents; Entra refuses resource, and
// a stray parameter here is a mistake of ours.
var allowedParameters = map[string][]string{
	"authorization_code": {"code", "code_verifier", "redirect_uri", "scope"},
	"refresh_token":      {"refresh_token", "scope"},
	"urn:ietf:params:oauth:grant-type:jwt-bearer": {"assertion", "scope", "requested_token_use"},
}

func (e *tenant) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" {
		refuse(w, "invalid_request", 9002313)
		return
	}
	e.requests, e.headers = append(e.requests, r.PostForm), append(e.headers, r.Header)
	e.paths = append(e.paths, r.URL.Path)
	if e.respond != nil {
		e.respond(w, r)
		return
	}
	form := r.PostForm
	always := []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"}
	for name, values := range form {
		if len(values) != 1 || !slices.Contains(append(always, allowedParameters[form.Get("grant_type")]...), name) {
			refuse(w, "invalid_request", 9002313)
			return
		}
	}
	switch {
	case r.Header.Get("Origin") != "":
		refuse(w, "invalid_request", 9002326)
		return
	case e.verify != nil:
		if fault := e.verify(form); fault != "" {
			e.t.Error(fault)
			refuse(w, "invalid_client", 700027)
			return
		}
	case form.Get("client_secret") != "s3cret-value":
		refuse(w, "invalid_client", 7000215)
		return
	}
	nonce := ""
	switch form.Get("grant_type") {
	case "authorization_code":
		if form.Get("code") != "good-code" || form.Get("redirect_uri") != testCallback {
			refuse(w, "invalid_grant", 70000)
			return
		}
		if sum := sha256.Sum256([]byte(form.Get("code_verifier"))); sum != sha256.Sum256([]byte(testVerifier)) {
			refuse(w, "invalid_grant", 501481)
			return
		}
		nonce = testNonce
	case "refresh_token":
		if form.Get("refresh_token") != "refresh-1" {
			refuse(w, "invalid_grant", 700082)
			return
		}
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if form.Get("assertion") == "" || form.Get("requested_token_use") != "on_behalf_of" {
			refuse(w, "invalid_grant", 50013)
			return
		}
	default:
		refuse(w, "unsupported_grant_type", 70003)
		return
	}
	out := map[string]any{
		"token_type": "Bearer", "access_token": e.accessToken("2.0"), "expires_in": 3600, "scope": form.Get("scope"),
	}
	if form.Get("grant_type") != "refresh_token" || e.rotate {
		out["refresh_token"] = "refresh-2"
	}
	if !e.noIDToken {
		out["id_token"] = e.idToken(nonce)
	}
	answerJSON(w, 200, out)
}

func (e *tenant) accessToken(version string) string {
	s, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"ver": version}).SignedString([]byte("opaque to us"))
	return s
}

func (e *tenant) idToken(nonce string) string {
	now := e.clock.Now()
	claims := jwt.MapClaims{
		"iss": issuerOf(e.issuer, testTenant), "aud": testClient, "tid": testTenant, "oid": testUser, "sub": "pairwise",
		"ver": "2.0", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": "Ada Lovelace", "preferred_username": "ada@contoso.example", "roles": []string{"Reader"},
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if e.claims != nil {
		e.claims(claims)
	}
	return e.sign(jwt.SigningMethodRS256, claims, e.published[e.signWith])
}

func (e *tenant) sign(method jwt.SigningMethod, claims jwt.Claims, key any) string {
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = e.signWith
	s, err := token.SignedString(key)
	if err != nil {
		e.t.Error(err)
	}
	return s
}

func refuse(w http.ResponseWriter, code string, aadsts int, more ...map[string]any) {
	body := map[string]any{
		"error": code, "error_codes": []int{aadsts},
		"error_description": "AADSTS" + jsonNumber(aadsts) + ": raw text naming ada@contoso.example. Trace ID: 0a0a0a0a-0000-0000-0000-000000000001 Correlation ID: 0c0c0c0c-0000-0000-0000-000000000002 Timestamp: 2026-11-23 12:00:00Z",
		"trace_id":          "0a0a0a0a-0000-0000-0000-000000000001", "correlation_id": "0c0c0c0c-0000-0000-0000-000000000002",
	}
	for _, m := range more {
		for k, v := range m {
			body[k] = v
		}
	}
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	answerJSON(w, status, body)
}

func jsonNumber(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func goodCallback() Callback {
	return Callback{Code: "good-code", Verifier: testVerifier, Nonce: testNonce}
}

func exchangeFailure(t *testing.T, c *Client) *Failure {
	t.Helper()
	_, err := c.Exchange(context.Background(), goodCallback())
	if err == nil {
		t.Fatal("the exchange succeeded")
	}
	return AsFailure(err)
}

// answerSignedBy answers with an ID token that names kid and is signed with a
// key nobody publishes.
func (e *tenant) answerSignedBy(kid string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, forged(e))
		token.Header["kid"] = kid
		s, err := token.SignedString(signingKeys()[1])
		if err != nil {
			e.t.Error(err)
		}
		answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 60, "id_token": s})
	}
}

// respondAfter counts token requests and answers them when release is closed.
func (e *tenant) respondAfter(release <-chan struct{}) *atomic.Int32 {
	var n atomic.Int32
	e.set(func() {
		e.respond = func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			e.mu.Unlock() // as the requests run at once
			<-release
			e.mu.Lock()
			answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": "t", "expires_in": 3600, "refresh_token": "refresh-2"})
		}
	})
	return &n
}

// refuseFirst refuses one token request.
func (e *tenant) refuseFirst(code string, aadsts int) {
	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			e.respond = nil
			refuse(w, code, aadsts)
		}
	})
}
