package handler_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestARefusedGrantSpendsNoAssertion: an assertion counts once, so it is spent by
// work that is done and not by a code or token that is refused.
func TestARefusedGrantSpendsNoAssertion(t *testing.T) {
	w := newEntraWorld(t, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	coordinate := base64.RawURLEncoding.EncodeToString
	r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/register", strings.NewReader(fmt.Sprintf(
		`{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[`+
			`{"kty":"EC","crv":"P-256","kid":"1","use":"sig","alg":"ES256","x":%q,"y":%q}]}}`, coordinate(public[1:33]), coordinate(public[33:]))))
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(rec.Body).Decode(&client); err != nil || client.ID == "" {
		t.Fatalf("%d, %v", rec.Code, err)
	}
	assertion := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": client.ID, "sub": client.ID, "aud": mcpIssuer, "jti": rand.Text(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	assertion.Header["kid"] = "1"
	signed, err := assertion.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, grant := range []url.Values{
		{"grant_type": {"authorization_code"}, "code": {"made-up"}, "redirect_uri": {"https://app.example/cb"}, "code_verifier": {mcpVerifier}},
		{"grant_type": {"refresh_token"}, "refresh_token": {"made-up"}},
		{"grant_type": {"authorization_code"}, "code": {"made-up"}, "redirect_uri": {"https://app.example/cb"}, "code_verifier": {mcpVerifier}},
	} {
		grant.Set("client_id", client.ID)
		grant.Set("client_assertion", signed)
		grant.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/token", strings.NewReader(grant.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), `"invalid_grant"`) {
			t.Errorf("%s: %d %s", grant.Get("grant_type"), rec.Code, rec.Body)
		}
	}
}
