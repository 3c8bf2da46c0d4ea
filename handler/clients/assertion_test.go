package clients

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// signers are one key of each kind that is accepted.
type signers struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	jwks    string
	private string // the same set, wrongly with private keys
}

func newSigners(tb testing.TB) signers {
	tb.Helper()
	var s signers
	var errs [3]error
	s.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	s.ec, errs[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, s.ed, errs[2] = ed25519.GenerateKey(rand.Reader)
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
	s.jwks = jwks(tb, false, s.rsa, s.ec, s.ed)
	s.private = jwks(tb, true, s.rsa, s.ec, s.ed)
	return s
}

// jwks numbers the keys k0, k1, ...
func jwks(tb testing.TB, private bool, keys ...crypto.Signer) string {
	tb.Helper()
	var set jwkset.JWKSMarshal
	for i, key := range keys {
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
			Marshal: jwkset.JWKMarshalOptions{Private: private}, Metadata: jwkset.JWKMetadataOptions{KID: fmt.Sprintf("k%d", i)},
		})
		if err != nil {
			tb.Fatal(err)
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	return asJSON(tb, set)
}

func sign(tb testing.TB, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

var jtis atomic.Int64

// goodClaims are accepted once; changes are pairs of name and value, nil removes.
func goodClaims(id string, now time.Time, changes ...any) jwt.MapClaims {
	claims := jwt.MapClaims{
		"iss": id, "sub": id, "aud": testIssuer, "jti": fmt.Sprint(jtis.Add(1)),
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for i := 0; i < len(changes); i += 2 {
		if claims[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(claims, changes[i].(string))
		}
	}
	return claims
}

func assertionForm(assertion string) url.Values {
	return url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
}

func TestClientAssertions(t *testing.T) {
	s, stranger := newSigners(t), newSigners(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	body := `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + s.jwks + `}`
	reg := register(t, r, body)
	if !reg.Secret.IsZero() || reg.JWKS == nil {
		t.Error("a registration with keys answers with a secret or without the keys")
	}
	id, now := reg.ClientID, clock.Now()
	tampered := sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now))
	withHeader := func(name string, value any) string {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, goodClaims(id, now))
		token.Header["kid"], token.Header[name] = "k1", value
		text, err := token.SignedString(s.ec)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, goodClaims(id, now)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		assertion string
		refusal   string // empty if accepted
	}{
		"RS256":               {sign(t, jwt.SigningMethodRS256, s.rsa, "k0", goodClaims(id, now)), ""},
		"PS256":               {sign(t, jwt.SigningMethodPS256, s.rsa, "k0", goodClaims(id, now)), ""},
		"ES256":               {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now)), ""},
		"EdDSA":               {sign(t, jwt.SigningMethodEdDSA, s.ed, "k2", goodClaims(id, now)), ""},
		"no kid":              {sign(t, jwt.SigningMethodES256, s.ec, "", goodClaims(id, now)), ""},
		"issuer as a list":    {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", []string{testIssuer})), ""},
		"token endpoint":      {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", testToken)), ""},
		"two audiences":       {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", []string{"https://else.example", testIssuer})), "aud"},
		"both of ours":        {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", []string{testIssuer, testToken})), "aud"},
		"issuer with a slash": {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", testIssuer+"/")), "aud"},
		"typ of the draft":    {withHeader("typ", "client-authentication+jwt"), ""},
		"typ in full":         {withHeader("typ", "application/JWT"), ""},
		"an access token":     {withHeader("typ", "at+jwt"), "typ"},
		"typ is a number":     {withHeader("typ", 1), "typ"},
		"none":                {unsigned, "algorithm"},
		"HS256 with the key":  {sign(t, jwt.SigningMethodHS256, []byte(s.jwks), "k0", goodClaims(id, now)), "algorithm"},
		"RS512":               {sign(t, jwt.SigningMethodRS512, s.rsa, "k0", goodClaims(id, now)), "algorithm"},
		"stranger's key":      {sign(t, jwt.SigningMethodES256, stranger.ec, "k1", goodClaims(id, now)), "signature"},
		"unknown kid":         {sign(t, jwt.SigningMethodES256, s.ec, "k9", goodClaims(id, now)), "no key"},
		"kid of another kind": {sign(t, jwt.SigningMethodES256, s.ec, "k0", goodClaims(id, now)), "no key"},
		"tampered":            {tampered[:len(tampered)-8] + "AAAAAAAA", "signature"},
		"critical header":     {withHeader("crit", []string{"b64"}), "critical"},
		"other iss":           {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "iss", "x")), "iss and sub"},
		"no iss":              {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "iss", nil)), "iss"},
		"other aud":           {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", "https://else.example")), "aud"},
		"no aud":              {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", nil)), "aud"},
		"empty aud":           {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "aud", "")), "aud"},
		"expired":             {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "exp", now.Add(-time.Minute).Unix())), "expired"},
		"no exp":              {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "exp", nil)), "exp"},
		"ten minutes, fast":   {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "exp", now.Add(maxAssertionLife+20*time.Second).Unix())), ""},
		"a little too long":   {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "exp", now.Add(maxAssertionLife+40*time.Second).Unix())), "10 minutes"},
		"longest jti":         {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "jti", strings.Repeat("x", maxText))), ""},
		"lives too long":      {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "exp", now.Add(time.Hour).Unix())), "10 minutes"},
		"not yet":             {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "nbf", now.Add(time.Hour).Unix())), "not valid yet"},
		"no jti":              {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "jti", nil)), "jti"},
		"long jti":            {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "jti", strings.Repeat("x", 300))), "jti"},
		"very long":           {sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now, "x", strings.Repeat("x", maxAssertion))), "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := r.Authenticate(t.Context(), nil, assertionForm(tt.assertion))
			if tt.refusal == "" {
				if err != nil || c.ID != id {
					t.Errorf("%s, %v", c.ID, err)
				}
				return
			}
			// Without iss or sub the client itself cannot be told.
			if refusal := wantCode(t, err, oauth.InvalidClient); !strings.Contains(refusal.Description, tt.refusal) {
				t.Errorf("description %q does not say %q", refusal.Description, tt.refusal)
			}
		})
	}
	t.Run("other client_id", func(t *testing.T) {
		other := register(t, r, strings.Replace(body, "a.example", "b.example", 1)).ClientID
		form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, now)))
		form.Set("client_id", other)
		_, err := r.Authenticate(t.Context(), nil, form)
		wantCode(t, err, oauth.InvalidClient)
	})
	t.Run("no assertion", func(t *testing.T) {
		_, err := r.Authenticate(t.Context(), nil, url.Values{"client_id": {id}})
		wantCode(t, err, oauth.InvalidClient)
	})
}

func TestAssertionIsUsedOnceOnAllInstances(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		s := newSigners(t)
		clock := clocktest.New()
		instances := []*Registry{newRegistry(t, Options{Table: table, Now: clock.Now}), newRegistry(t, Options{Table: table, Now: clock.Now})}
		id := register(t, instances[0], `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+s.jwks+`}`).ClientID
		form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now())))
		var accepted atomic.Int32
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				c, err := instances[i%2].Authenticate(t.Context(), nil, form)
				if err == nil {
					err = instances[i%2].Consume(t.Context(), c)
				}
				if err == nil {
					accepted.Add(1)
				} else if oauth.ErrorCode(err) != oauth.InvalidClient {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := accepted.Load(); n != 1 {
			t.Errorf("accepted %d times", n)
		}
	})
}

func TestUncheckableAssertionIsRefusedAsUnavailable(t *testing.T) {
	s := newSigners(t)
	table := openTable(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	id := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+s.jwks+`}`).ClientID
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now()))))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Consume(t.Context(), c), oauth.TemporarilyUnavailable)
}

// A document names private_key_jwt and none; the keys are at a URL of their own.
func TestKeysOfADocumentAreFetchedAndRotate(t *testing.T) {
	old, next := newSigners(t), newSigners(t)
	web, keys := newSite(t), newSite(t)
	id := web.URL + "/oauth/client.json"
	web.serveJSON(fmt.Sprintf(`{"client_id":%q,"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],"token_endpoint_auth_method":"none","token_endpoint_auth_methods_supported":["none","private_key_jwt"],"jwks_uri":%q}`, id, keys.URL+"/jwks.json"))
	keys.serveJSON(jwks(t, false, old.rsa))
	clock := clocktest.New()
	o := web.localOptions()
	o.Now = clock.Now
	o.Documents.roots.AddCert(keys.Certificate())
	r := newRegistry(t, o)
	authenticate := func(key *rsa.PrivateKey, kid string) error {
		_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodRS256, key, kid, goodClaims(id, clock.Now(), "aud", o.Issuer))))
		return err
	}
	if _, err := r.Authenticate(t.Context(), nil, url.Values{"client_id": {id}}); err != nil {
		t.Errorf("none is listed, but: %v", err)
	}
	if err := authenticate(old.rsa, "k0"); err != nil {
		t.Fatal(err)
	}
	rotated := strings.Replace(jwks(t, false, next.rsa), `"k0"`, `"next"`, 1)
	keys.serveJSON(rotated)
	for range 5 {
		wantCode(t, authenticate(next.rsa, "next"), oauth.InvalidClient)
	}
	if n := keys.hits.Load(); n != 1 {
		t.Errorf("%d fetches of the key set, want 1: an unknown kid must not hammer its host", n)
	}
	clock.Advance(keyRefetch)
	if err := authenticate(next.rsa, "next"); err != nil {
		t.Errorf("after rotation: %v", err)
	}
	keys.Close()
	clock.Advance(2 * defaultFresh)
	if err := authenticate(next.rsa, "next"); err != nil {
		t.Errorf("old keys do not stand in: %v", err)
	}
}

func TestKeySetsThatProveNothingAreRefused(t *testing.T) {
	s := newSigners(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var encryption map[string][]map[string]any
	if err := json.Unmarshal([]byte(jwks(t, false, s.ec)), &encryption); err != nil {
		t.Fatal(err)
	}
	encryption["keys"][0]["use"] = "enc"
	for name, set := range map[string]string{
		"private keys":   s.private,
		"symmetric":      `{"keys":[{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `"}]}`,
		"1024 bits":      jwks(t, false, weak),
		"P-384":          jwks(t, false, p384),
		"empty":          `{"keys":[]}`,
		"not a set":      `[]`,
		"for encrypting": asJSON(t, encryption),
		"off the curve":  `{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`,
		"too many":       `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"EC"},`, maxKeys+1), ",") + `]}`,
	} {
		if keys, err := parseKeys([]byte(set)); err == nil {
			t.Errorf("%s: %d keys accepted", name, len(keys))
		}
	}
	x5u := strings.Replace(jwks(t, false, s.ec), `"kty"`, `"x5u":"https://127.0.0.1/cert","kty"`, 1)
	if _, err := parseKeys([]byte(x5u)); err != nil {
		t.Errorf("a certificate URL is not ignored: %v", err)
	}
}

// rfc7523bis makes the issuer the only audience; the token endpoint is accepted
// with a line in the log until the operator ends that.
func TestTokenEndpointAsAudienceCanBeEnded(t *testing.T) {
	s := newSigners(t)
	clock := clocktest.New()
	table := openTable(t)
	var log strings.Builder
	lenient := newRegistry(t, Options{Table: table, Now: clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	strict := newRegistry(t, Options{Table: table, Now: clock.Now, Issuer: testIssuer, TokenEndpoint: testToken, IssuerAudienceOnly: true})
	id := register(t, lenient, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+s.jwks+`}`).ClientID
	log.Reset()
	authenticate := func(r *Registry, aud any) error {
		_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now(), "aud", aud))))
		return err
	}
	if err := authenticate(lenient, testIssuer); err != nil || log.Len() != 0 {
		t.Errorf("issuer: %v, log %s", err, &log)
	}
	if err := authenticate(lenient, testToken); err != nil || !strings.Contains(log.String(), "token endpoint") || !strings.Contains(log.String(), id) {
		t.Errorf("token endpoint: %v, log %s", err, &log)
	}
	if err := authenticate(strict, testIssuer); err != nil {
		t.Error(err)
	}
	wantCode(t, authenticate(strict, testToken), oauth.InvalidClient)
	wantCode(t, authenticate(strict, ""), oauth.InvalidClient)
}

func TestDeclaredAlgorithmIsTheOnlyOne(t *testing.T) {
	s := newSigners(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	id := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"PS256","jwks":`+s.jwks+`}`).ClientID
	for method, accepted := range map[jwt.SigningMethod]bool{jwt.SigningMethodPS256: true, jwt.SigningMethodRS256: false} {
		_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, method, s.rsa, "k0", goodClaims(id, clock.Now()))))
		if (err == nil) != accepted {
			t.Errorf("%s: %v", method.Alg(), err)
		}
	}
	_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now()))))
	wantCode(t, err, oauth.InvalidClient)
	_, err = r.Register(t.Context(), "application/json", strings.NewReader(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"HS256","jwks":`+s.jwks+`}`))
	wantCode(t, err, oauth.InvalidClientMetadata)
}

// counting counts the signatures that are checked.
type counting struct {
	jwt.SigningMethod
	checks *int
}

func (c counting) Verify(text string, sig []byte, key any) error {
	*c.checks++
	return c.SigningMethod.Verify(text, sig, key)
}

// A bogus assertion costs two signatures at most, and none if anything that is
// cheaper to see is wrong with it.
func TestAForgedAssertionCostsLittle(t *testing.T) {
	s := newSigners(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	more := []crypto.Signer{}
	for range maxKeys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		more = append(more, key)
	}
	checks := 0
	jwt.RegisterSigningMethod("ES256", func() jwt.SigningMethod { return counting{jwt.SigningMethodES256, &checks} })
	t.Cleanup(func() {
		jwt.RegisterSigningMethod("ES256", func() jwt.SigningMethod { return jwt.SigningMethodES256 })
	})
	client := func(keys string) string {
		return register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+keys+`}`).ClientID
	}
	one, two, many := client(jwks(t, false, more[0])), client(jwks(t, false, more[:2]...)), client(jwks(t, false, more...))
	for name, tt := range map[string]struct {
		id, kid string
		changes []any
		want    int
	}{
		"one key":             {one, "", nil, 1},
		"two keys":            {two, "", nil, 2},
		"eight keys, no kid":  {many, "", nil, 0},
		"eight keys, one kid": {many, "k3", nil, 1},
		"expired":             {one, "", []any{"exp", clock.Now().Add(-time.Hour).Unix()}, 0},
		"wrong audience":      {one, "", []any{"aud", "https://else.example"}, 0},
		"wrong issuer":        {one, "", []any{"iss", "x"}, 0},
		"no jti":              {one, "", []any{"jti", nil}, 0},
		"long life":           {one, "", []any{"exp", clock.Now().Add(time.Hour).Unix()}, 0},
	} {
		checks = 0
		form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, tt.kid, goodClaims(tt.id, clock.Now(), tt.changes...)))
		form.Set("client_id", tt.id)
		_, err := r.Authenticate(t.Context(), nil, form)
		wantCode(t, err, oauth.InvalidClient)
		if checks != tt.want {
			t.Errorf("%s: %d signatures checked, want %d", name, checks, tt.want)
		}
	}
}

// Assertions that fail are limited, by address and in total; those that are
// good take nothing from the limit.
func TestFailedAssertionsAreLimited(t *testing.T) {
	s, stranger := newSigners(t), newSigners(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	id := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+s.jwks+`}`).ClientID
	attempt := func(address string, key any) error {
		_, err := r.Authenticate(as(address), nil, assertionForm(sign(t, jwt.SigningMethodES256, key, "k1", goodClaims(id, clock.Now()))))
		return err
	}
	for range 3 * addressAssertions.Burst {
		if err := attempt("192.0.2.9", s.ec); err != nil {
			t.Fatal(err)
		}
	}
	for range addressAssertions.Burst {
		wantCode(t, attempt("192.0.2.1", stranger.ec), oauth.InvalidClient)
	}
	wantCode(t, attempt("192.0.2.1", stranger.ec), oauth.SlowDown)
	if err := attempt("198.51.100.1", s.ec); err != nil {
		t.Errorf("another address: %v", err)
	}
	for i := range 2 * instanceAssertions.Burst {
		_ = attempt(fmt.Sprintf("10.0.%d.%d", i%50, i/50+1), stranger.ec)
	}
	if err := attempt("203.0.113.1", s.ec); err != nil {
		t.Errorf("an honest client during a flood from many addresses: %v", err)
	}
}

// A request that is refused for another reason uses no assertion up, so a
// stranger's bogus codes and tokens write no rows.
func TestAuthenticatingAloneWritesNothing(t *testing.T) {
	s := newSigners(t)
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	id := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+s.jwks+`}`).ClientID
	form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now())))
	var c Client
	for range 3 {
		var err error
		if c, err = r.Authenticate(t.Context(), nil, form); err != nil {
			t.Fatal(err)
		}
	}
	if n := countRows(t, table, AssertionPrefix); n != 0 {
		t.Errorf("%d rows", n)
	}
	if err := r.Consume(t.Context(), c); err != nil {
		t.Error(err)
	}
	refusal := wantCode(t, r.Consume(t.Context(), c), oauth.InvalidClient)
	if !strings.Contains(refusal.Description, "used before") {
		t.Error(refusal.Description)
	}
	public := register(t, r, realRegistrations[0].body).ClientID
	for range 2 {
		c, err := r.Authenticate(t.Context(), nil, url.Values{"client_id": {public}})
		if err != nil || r.Consume(t.Context(), c) != nil {
			t.Error(err)
		}
	}
	if n := countRows(t, table, AssertionPrefix); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// The most that a stranger's assertion costs: two signatures of the largest keys.
func BenchmarkForgedAssertion(b *testing.B) {
	clock := clocktest.New()
	r := newRegistry(b, Options{Now: clock.Now})
	var keys [3]*rsa.PrivateKey // the last is the stranger's
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, maxRSABits); err != nil {
			b.Fatal(err)
		}
	}
	id := register(b, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":`+jwks(b, false, keys[0], keys[1])+`}`).ClientID
	form := assertionForm(sign(b, jwt.SigningMethodRS256, keys[2], "", goodClaims(id, clock.Now(), "exp", clock.Now().Add(9*time.Minute).Unix())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Authenticate(b.Context(), nil, form); err == nil {
			b.Fatal("accepted")
		}
		r.assertions.Return("unknown")
	}
}
