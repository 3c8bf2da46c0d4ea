package handler_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// registerKey registers a client that authenticates with key (private_key_jwt).
func (w *entraWorld) registerKey(to http.Handler, key *ecdsa.PrivateKey) *app {
	w.t.Helper()
	public, err := key.PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	coordinate := base64.RawURLEncoding.EncodeToString
	return w.register(to, "https://app.example/cb", map[string]any{
		"token_endpoint_auth_method": "private_key_jwt",
		"jwks": map[string]any{"keys": []map[string]string{{
			"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": coordinate(public[1:33]), "y": coordinate(public[33:]),
		}}},
	})
}

// assertion is a client authentication (RFC 7523 §2.2), signed with key.
func (a *app) assertion(key *ecdsa.PrivateKey) url.Values {
	a.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": a.id, "sub": a.id, "aud": mcpIssuer, "jti": oauth.RandomID(), "exp": a.clock.Now().Unix() + 60,
	})
	token.Header["kid"] = "1"
	signed, err := token.SignedString(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return url.Values{
		"client_id": {a.id}, "client_assertion": {signed}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
}

// TestARefusedGrantSpendsNoAssertion: an assertion counts once, so it is spent by
// work that is done and not by a code or token that is refused.
func TestARefusedGrantSpendsNoAssertion(t *testing.T) {
	w := newEntraWorld(t, nil)
	key := newKey(t)
	a := w.registerKey(w.server, key)
	assertion := a.assertion(key)
	for _, grant := range []url.Values{
		{"grant_type": {"authorization_code"}, "code": {"made-up"}, "redirect_uri": {a.redirect}, "code_verifier": {mcpVerifier}},
		{"grant_type": {"refresh_token"}, "refresh_token": {"made-up"}},
		{"grant_type": {"authorization_code"}, "code": {"made-up"}, "redirect_uri": {a.redirect}, "code_verifier": {mcpVerifier}},
	} {
		maps.Copy(grant, assertion)
		rec := a.form(w.server, "/token", grant)
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), `"invalid_grant"`) {
			t.Errorf("%s: %d %s", grant.Get("grant_type"), rec.Code, rec.Body)
		}
	}
}
