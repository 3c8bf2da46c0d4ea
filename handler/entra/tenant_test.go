package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	sim "entramcp/dev/tenant"
	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

const (
	testTenant   = sim.Contoso
	otherTenant  = sim.Fabrikam
	testClient   = sim.DefaultClientID
	testCallback = "http://localhost:8080/auth/callback"
	testScope    = "api://" + sim.DefaultClientID + "/" + sim.DefaultScope
	testSecret   = "s3cret-value"
	testNonce    = "the-nonce"

	keysPath, metadataPath = "discovery/v2.0/keys", "v2.0/.well-known/openid-configuration"
	tokenPath              = "oauth2/v2.0/token"
)

// signingKeys are made once, for they are slow to find: two that are not
// Entra's, unlike sim.SharedKey.
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

// tenant is the simulated tenant on loopback with one app registration. Tests
// see what is asked of it, and may answer in its place.
type tenant struct {
	*sim.Tenant
	t      testing.TB
	server *httptest.Server
	clock  *clocktest.Clock

	mu       sync.Mutex
	fetches  map[string]int // by path after the tenant's segment
	requests []url.Values   // token requests, with their secrets
	paths    []string       // of token requests
	headers  []http.Header
	down     bool
	respond  http.HandlerFunc                       // replaces the token endpoint
	edits    map[string]func(map[string]any)        // of documents, by path
	replace  map[string]func(w http.ResponseWriter) // of documents, by path
}

func newTenant(t testing.TB, edits ...func(*sim.App)) *tenant {
	t.Helper()
	e := &tenant{
		t: t, clock: clocktest.New(),
		fetches: map[string]int{}, edits: map[string]func(map[string]any){}, replace: map[string]func(http.ResponseWriter){},
	}
	e.server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.server.Close)
	var err error
	if e.Tenant, err = sim.New(sim.Options{BaseURL: e.server.URL, Now: e.clock.Now, SigningKey: sim.SharedKey()}); err != nil {
		t.Fatal(err)
	}
	app := sim.DefaultApp(testSecret, testCallback)
	app.AssignmentRequired, app.AdminConsented = false, true
	for _, edit := range edits {
		edit(&app)
	}
	if err := e.Register(app); err != nil {
		t.Fatal(err)
	}
	return e
}

// consenting has users give their own consent.
func consenting(a *sim.App) { a.AdminConsented = false }

func (e *tenant) reconfigure(edit func(*sim.App)) {
	e.t.Helper()
	e.must(e.Reconfigure(testClient, edit))
}

func (e *tenant) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *tenant) config() Config {
	return Config{
		Tenant: testTenant, ClientID: testClient, Secret: Secret{secret.New(testSecret)}, APIScope: testScope,
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
	e.must(err)
	return c
}

func (e *tenant) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *tenant) serve(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	e.mu.Lock()
	e.fetches[path]++
	down, edit, replace := e.down, e.edits[path], e.replace[path]
	var respond http.HandlerFunc
	if path == tokenPath {
		respond = e.respond
		if err := r.ParseForm(); err != nil {
			e.t.Error(err)
		}
		e.requests, e.headers, e.paths = append(e.requests, maps.Clone(r.PostForm)), append(e.headers, r.Header), append(e.paths, r.URL.Path)
	}
	e.mu.Unlock()
	switch {
	case down:
		http.Error(w, "<html>down</html>", http.StatusBadGateway)
	case replace != nil:
		replace(w)
	case respond != nil:
		respond(w, r)
	case edit != nil:
		recorded := httptest.NewRecorder()
		e.ServeHTTP(recorded, r)
		var document map[string]any
		if err := json.Unmarshal(recorded.Body.Bytes(), &document); err != nil {
			e.t.Error(err)
		}
		edit(document)
		answerJSON(w, recorded.Code, document)
	default:
		e.ServeHTTP(w, r)
	}
}

func (e *tenant) fetched(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fetches[path]
}

func (e *tenant) tokenRequests() int { return e.fetched(tokenPath) }

func (e *tenant) lastRequest() (url.Values, http.Header) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.requests) == 0 {
		e.t.Fatal("no token request arrived")
	}
	return e.requests[len(e.requests)-1], e.headers[len(e.headers)-1]
}

// redirected signs username in as a browser would and returns the query of the
// callback, with the verifier that belongs to it.
func (e *tenant) redirected(c *Client, username, claims string) (url.Values, Verifier) {
	e.t.Helper()
	verifier := oauth.NewVerifier()
	address, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "st", Nonce: testNonce, CodeChallenge: oauth.S256(verifier), Claims: claims})
	e.must(err)
	back, err := sim.SignIn(context.Background(), &http.Client{Timeout: 10 * time.Second}, address, username)
	e.must(err)
	at, err := url.Parse(back)
	e.must(err)
	if at.Query().Get("state") != "st" {
		e.t.Fatalf("the state is lost: %s", back)
	}
	return at.Query(), Verifier{secret.New(verifier)}
}

func (e *tenant) callback(c *Client, username string) Callback {
	e.t.Helper()
	q, verifier := e.redirected(c, username, "")
	if q.Get("code") == "" {
		e.t.Fatalf("no code for %s: %v", username, q)
	}
	return Callback{Code: Code{secret.New(q.Get("code"))}, Verifier: verifier, Nonce: testNonce}
}

func (e *tenant) signInWith(c *Client, username string) (SignIn, error) {
	e.t.Helper()
	return c.Exchange(context.Background(), e.callback(c, username))
}

// signedInAs is a sign-in that works.
func (e *tenant) signedInAs(c *Client, username string) SignIn {
	e.t.Helper()
	s, err := e.signInWith(c, username)
	e.must(err)
	return s
}

// exchangeError is how Alice's sign-in fails.
func (e *tenant) exchangeError(c *Client) *Error {
	e.t.Helper()
	_, err := e.signInWith(c, sim.Alice)
	if err == nil {
		e.t.Fatal("the exchange succeeded")
	}
	return AsError(err)
}

// refreshError is how the renewal of a token that nobody issued fails, which
// is for tests that answer in the tenant's place.
func (e *tenant) refreshError(c *Client) *Error {
	e.t.Helper()
	_, err := c.Refresh(context.Background(), refreshToken("refresh-1"))
	if err == nil {
		e.t.Fatal("the renewal succeeded")
	}
	return AsError(err)
}

func refreshToken(text string) RefreshToken { return RefreshToken{secret.New(text)} }
func accessToken(text string) AccessToken   { return AccessToken{secret.New(text)} }

// refuse answers as Entra words an error.
func refuse(w http.ResponseWriter, code string, aadsts int, more ...map[string]any) {
	body := map[string]any{
		"error": code, "error_codes": []int{aadsts},
		"error_description": "AADSTS" + strconv.Itoa(aadsts) + ": raw text naming ada@contoso.example. Trace ID: 0a0a0a0a-0000-0000-0000-000000000001 Correlation ID: 0c0c0c0c-0000-0000-0000-000000000002 Timestamp: 2026-11-23 12:00:00Z",
		"trace_id":          "0a0a0a0a-0000-0000-0000-000000000001", "correlation_id": "0c0c0c0c-0000-0000-0000-000000000002",
	}
	for _, m := range more {
		maps.Copy(body, m)
	}
	status := http.StatusBadRequest
	if code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	answerJSON(w, status, body)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refuses answers token requests with an error.
func (e *tenant) refuses(code string, aadsts int, more ...map[string]any) {
	e.set(func() { e.respond = func(w http.ResponseWriter, _ *http.Request) { refuse(w, code, aadsts, more...) } })
}

// refuseFirst refuses one token request.
func (e *tenant) refuseFirst(code string, aadsts int) {
	e.set(func() {
		before := e.respond
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			e.set(func() { e.respond = before })
			refuse(w, code, aadsts)
		}
	})
}

// respondAfter counts token requests and answers them when release is closed.
func (e *tenant) respondAfter(release <-chan struct{}) *atomic.Int32 {
	var n atomic.Int32
	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			<-release
			answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": "t", "expires_in": 3600, "refresh_token": "refresh-2"})
		}
	})
	return &n
}

// publish adds a key to those of the tenant, as one more of Entra's.
func (e *tenant) publish(kid string, k *rsa.PrivateKey, more ...map[string]any) {
	e.set(func() {
		e.edits[keysPath] = func(d map[string]any) {
			jwk := map[string]any{
				"kty": "RSA", "use": "sig", "kid": kid, "x5t": kid, "x5c": []string{"bm90IGEgY2VydGlmaWNhdGU="},
				"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()),
				"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
			}
			for _, m := range more {
				maps.Copy(jwk, m)
			}
			d["keys"] = append(slices.Clone(d["keys"].([]any)), jwk)
		}
	})
}

// sign makes an ID token with a key of the test's.
func (e *tenant) sign(method jwt.SigningMethod, kid string, key any) string {
	now := e.clock.Now()
	token := jwt.NewWithClaims(method, jwt.MapClaims{
		"iss": e.server.URL + "/" + testTenant + "/v2.0", "aud": testClient, "tid": testTenant, "oid": "00000000-0000-4000-8000-0000000000a1",
		"ver": "2.0", "nonce": testNonce, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	token.Header["kid"] = kid
	s, err := token.SignedString(key)
	e.must(err)
	return s
}

// answersWith has the token endpoint give this ID token.
func (e *tenant) answersWith(idToken string) {
	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			answerJSON(w, 200, map[string]any{"token_type": "Bearer", "access_token": "x", "expires_in": 60, "id_token": idToken})
		}
	})
}

func codeIn(q url.Values) secret.Value { return secret.New(q.Get("code")) }

// tokensWithoutRefresh answers as the tenant does, without its refresh token,
// and returns the ID token.
func (e *tenant) tokensWithoutRefresh(w http.ResponseWriter, r *http.Request) string {
	recorded := httptest.NewRecorder()
	e.ServeHTTP(recorded, r)
	var body map[string]any
	if err := json.Unmarshal(recorded.Body.Bytes(), &body); err != nil {
		e.t.Error(err)
	}
	delete(body, "refresh_token")
	answerJSON(w, recorded.Code, body)
	id, _ := body["id_token"].(string)
	return id
}
