package tenant

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/clocktest"
)

const (
	secret   = "correct-horse"
	callback = "http://localhost:7071/auth/callback"
	verifier = "0123456789012345678901234567890123456789abc"
	apiScope = "api://" + DefaultClientID + "/" + DefaultScope
	fullAsk  = "openid profile email offline_access " + apiScope
)

// world is a tenant on loopback with one registered app and a settable clock.
type world struct {
	*Tenant
	t     *testing.T
	url   string
	clock *clocktest.Clock
}

func start(t *testing.T, edits ...func(*App)) *world {
	t.Helper()
	w := &world{t: t, clock: clocktest.New()}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	var err error
	w.url = server.URL
	if w.Tenant, err = New(Options{BaseURL: server.URL, Now: w.clock.Now, SigningKey: SharedKey()}); err != nil {
		t.Fatal(err)
	}
	app := App{
		ClientID: DefaultClientID, Secrets: []Secret{{Value: secret}}, RedirectURIs: []string{callback},
		Scopes: []string{DefaultScope, "other"}, AppRoles: []string{"Mcp.Admin", "Mcp.Reader"}, TokenVersion: 2,
	}
	for _, edit := range edits {
		edit(&app)
	}
	w.must(w.Register(app))
	return w
}

// params override a good request; a value of "-" removes the parameter.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

type params map[string]string

func merged(good params, change params) url.Values {
	all := maps.Clone(good)
	maps.Copy(all, change)
	q := url.Values{}
	for name, value := range all {
		if value != "-" && name != "tenant" {
			q.Set(name, value)
		}
	}
	return q
}

func (w *world) realm(change params) string {
	if tenant, ok := change["tenant"]; ok {
		return tenant
	}
	return Contoso
}

func (w *world) authorizeURL(change params) string {
	sum := sha256.Sum256([]byte(verifier))
	q := merged(params{
		"client_id": DefaultClientID, "redirect_uri": callback, "response_type": "code", "scope": fullAsk,
		"state": "st&ate", "nonce": "n-1", "code_challenge_method": "S256",
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]),
	}, change)
	return w.url + "/" + w.realm(change) + "/oauth2/v2.0/authorize?" + q.Encode()
}

// signInAs returns the callback's query.
func (w *world) signInAs(username string, change params) url.Values {
	w.t.Helper()
	to, err := SignIn(context.Background(), http.DefaultClient, w.authorizeURL(change), username)
	if err != nil {
		w.t.Fatal(err)
	}
	return query(w.t, to)
}

func query(t *testing.T, to string) url.Values {
	t.Helper()
	if !strings.HasPrefix(to, callback+"?") {
		t.Fatalf("the browser was sent to %s", to)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// reply is the token endpoint's JSON, good or bad.
type reply struct {
	Status      int
	Retry       string
	Access      string `json:"access_token"`
	Refresh     string `json:"refresh_token"`
	ID          string `json:"id_token"`
	Scope       string `json:"scope"`
	Expires     int    `json:"expires_in"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
	Timestamp   string `json:"timestamp"`
	Trace       string `json:"trace_id"`
	Correlation string `json:"correlation_id"`
	URI         string `json:"error_uri"`
	Suberror    string `json:"suberror"`
	Claims      string `json:"claims"`
}

func (r reply) code() int {
	if len(r.Codes) == 1 {
		return r.Codes[0]
	}
	return 0
}

func (w *world) post(realm string, form url.Values, edits ...func(*http.Request)) reply {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.url+"/"+realm+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, edit := range edits {
		edit(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	r := reply{Status: resp.StatusCode, Retry: resp.Header.Get("Retry-After")}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) redeemWith(code string, change params, edits ...func(*http.Request)) reply {
	w.t.Helper()
	return w.post(w.realm(change), merged(params{
		"grant_type": grantCode, "client_id": DefaultClientID, "client_secret": secret, "code": code,
		"redirect_uri": callback, "code_verifier": verifier, "scope": fullAsk,
	}, change), edits...)
}

func (w *world) refreshWith(token string, change params) reply {
	w.t.Helper()
	return w.post(w.realm(change), merged(params{
		"grant_type": grantRefresh, "client_id": DefaultClientID, "client_secret": secret,
		"refresh_token": token, "scope": fullAsk,
	}, change))
}

func (w *world) onBehalfOfWith(token string, change params) reply {
	w.t.Helper()
	return w.post(w.realm(change), merged(params{
		"grant_type": grantOnBehalfOf, "client_id": DefaultClientID, "client_secret": secret, "assertion": token,
		"requested_token_use": "on_behalf_of", "scope": "https://graph.microsoft.com/User.Read",
	}, change))
}

// tokens signs in and redeems.
func (w *world) tokens(username string, change params) reply {
	w.t.Helper()
	q := w.signInAs(username, change)
	if q.Get("code") == "" {
		w.t.Fatalf("%s was refused: %s", username, q.Get("error_description"))
	}
	r := w.redeemWith(q.Get("code"), change)
	if r.Status != http.StatusOK {
		w.t.Fatalf("no tokens for %s: %s", username, r.Description)
	}
	return r
}

// claimsOf verifies a token by the published keys, as anyone would.
func (w *world) claimsOf(raw string) jwt.MapClaims {
	w.t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithTimeFunc(w.clock.Now)).ParseWithClaims(raw, claims, w.published)
	if err != nil {
		w.t.Fatal(err)
	}
	return claims
}

// published looks a token's key up in the JWKS endpoint.
func (w *world) published(token *jwt.Token) (any, error) {
	resp, err := http.Get(w.url + "/" + Contoso + "/discovery/v2.0/keys")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var set struct {
		Keys []struct{ Kid, N, E, Issuer string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		return nil, err
	}
	for _, key := range set.Keys {
		if key.Kid != token.Header["kid"] {
			continue
		}
		n, err1 := base64.RawURLEncoding.DecodeString(key.N)
		e, err2 := base64.RawURLEncoding.DecodeString(key.E)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
	}
	return nil, errors.New("the key is not published")
}

func unverified(t *testing.T, raw string) *jwt.Token {
	t.Helper()
	token, _, err := jwt.NewParser().ParseUnverified(raw, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	return token
}
