package tenant

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestSecretByBasic(t *testing.T) {
	w := start(t, func(app *App) { app.Secrets = []Secret{{Value: "a b:c%+"}} })
	basic := func(password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(DefaultClientID, url.QueryEscape(password)) }
	}
	bare := params{"client_id": "-", "client_secret": "-"}
	if r := w.redeemWith(w.signInAs(Alice, nil).Get("code"), bare, basic("a b:c%+")); r.Status != http.StatusOK {
		t.Errorf("refused: %s", r.Description)
	}
	checkReply(t, w.redeemWith("1.x", bare, basic("guess")), 401, "invalid_client", 7000215)
}

func TestExpiredSecret(t *testing.T) {
	w := start(t)
	w.must(w.Reconfigure(DefaultClientID, func(app *App) { app.Secrets = []Secret{{Value: secret, Expires: w.clock.Now()}} }))
	checkReply(t, w.redeemWith("1.x", nil), 401, "invalid_client", 7000222)
}

func newCertificate(t *testing.T, from time.Time) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "app"}, NotBefore: from, NotAfter: from.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func TestCertificateAssertions(t *testing.T) {
	w := start(t)
	now := w.clock.Now()
	certificate, key := newCertificate(t, now.AddDate(0, -6, 0))
	expired, expiredKey := newCertificate(t, now.AddDate(-2, 0, 0))
	_, strangersKey := newCertificate(t, now)
	if err := w.Reconfigure(DefaultClientID, func(app *App) {
		app.Certificates = []*x509.Certificate{certificate, expired}
	}); err != nil {
		t.Fatal(err)
	}
	sha2, sha1Sum := sha256.Sum256(certificate.Raw), sha1.Sum(certificate.Raw)
	expiredSum := sha256.Sum256(expired.Raw)
	good := jwt.MapClaims{
		"aud": w.url + "/" + Contoso + "/oauth2/v2.0/token", "iss": DefaultClientID, "sub": DefaultClientID,
		"jti": "1", "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for name, tc := range map[string]struct {
		method jwt.SigningMethod
		key    *rsa.PrivateKey
		header map[string]any
		change jwt.MapClaims
		code   int
	}{
		"as documented":        {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, nil, 0},
		"as MSAL for Go":       {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.StdEncoding.EncodeToString(sha2[:])}, nil, 0},
		"the older way":        {jwt.SigningMethodRS256, key, map[string]any{"x5t": base64.RawURLEncoding.EncodeToString(sha1Sum[:])}, nil, 0},
		"no thumbprint":        {jwt.SigningMethodPS256, key, nil, nil, 700027},
		"another thumbprint":   {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": "AAAA"}, nil, 700027},
		"signed by a stranger": {jwt.SigningMethodPS256, strangersKey, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, nil, 700027},
		"expired certificate":  {jwt.SigningMethodPS256, expiredKey, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(expiredSum[:])}, nil, 700027},
		"other subject":        {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"sub": Fabrikam}, 700027},
		"other audience":       {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"aud": w.url}, 700027},
		"no jti":               {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"jti": ""}, 700027},
		"expired":              {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"exp": now.Add(-6 * time.Minute).Unix()}, 700024},
		"not yet valid":        {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"nbf": now.Add(6 * time.Minute).Unix()}, 700024},
		"no exp":               {jwt.SigningMethodPS256, key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sha2[:])}, jwt.MapClaims{"exp": nil}, 700024},
	} {
		t.Run(name, func(t *testing.T) {
			claims := maps.Clone(good)
			for claim, value := range tc.change {
				claims[claim] = value
				if value == nil {
					delete(claims, claim)
				}
			}
			token := jwt.NewWithClaims(tc.method, claims)
			maps.Copy(token.Header, tc.header)
			assertion, err := token.SignedString(tc.key)
			if err != nil {
				t.Fatal(err)
			}
			r := w.redeemWith(w.signInAs(Alice, nil).Get("code"), asserted(assertion))
			if tc.code != 0 {
				checkReply(t, r, 401, "invalid_client", tc.code)
			} else if r.Status != http.StatusOK || w.claimsOf(r.Access)["azpacr"] != "2" {
				t.Errorf("refused: %s", r.Description)
			}
		})
	}
}

func asserted(assertion string) params {
	return params{"client_secret": "-", "client_assertion": assertion, "client_assertion_type": assertionType}
}

func TestFederatedAssertions(t *testing.T) {
	w := start(t)
	id := ManagedIdentity{ClientID: "22222222-2222-4222-8222-222222222222", Principal: "33333333-3333-4333-8333-333333333333", Header: "h"}
	endpoint := httptest.NewServer(w.ManagedIdentity(id))
	defer endpoint.Close()
	token := identityToken(t, endpoint.URL, id, TokenExchange)
	user := w.tokens(Alice, nil).Access
	userSubject, _ := w.claimsOf(user)["sub"].(string)

	good := w.Federation(id)
	with := func(edit func(*FederatedCredential)) []FederatedCredential {
		c := good
		edit(&c)
		return []FederatedCredential{c}
	}
	for name, tc := range map[string]struct {
		credentials []FederatedCredential
		assertion   string
		after       time.Duration
		code        int
	}{
		"good":            {credentials: []FederatedCredential{good}, assertion: token},
		"none configured": {assertion: token, code: 70021},
		"other issuer":    {credentials: with(func(c *FederatedCredential) { c.Issuer += "/" }), assertion: token, code: 700211},
		"other subject":   {credentials: with(func(c *FederatedCredential) { c.Subject = id.ClientID }), assertion: token, code: 700213},
		"other audience":  {credentials: with(func(c *FederatedCredential) { c.Audience += "USGov" }), assertion: token, code: 700212},
		"tampered":        {credentials: []FederatedCredential{good}, assertion: token[:len(token)-8] + "AAAAAAAA", code: 700027},
		"a user's token": {credentials: with(func(c *FederatedCredential) {
			c.Subject, c.Audience = userSubject, DefaultClientID
		}), assertion: user, code: 700229},
		"expired": {credentials: []FederatedCredential{good}, assertion: token, after: 24*time.Hour + 6*time.Minute, code: 700024},
	} {
		t.Run(name, func(t *testing.T) {
			w.must(w.Reconfigure(DefaultClientID, func(app *App) { app.Federated = tc.credentials }))
			w.clock.Advance(tc.after)
			defer w.clock.Advance(-tc.after)
			r := w.redeemWith(w.signInAs(Alice, nil).Get("code"), asserted(tc.assertion))
			if tc.code != 0 {
				checkReply(t, r, 401, "invalid_client", tc.code)
			} else if r.Status != http.StatusOK {
				t.Errorf("refused: %s", r.Description)
			}
		})
	}
}

func TestClientCredentials(t *testing.T) {
	w := start(t)
	for name, tc := range map[string]struct {
		change params
		oauth  string
		code   int
	}{
		"itself":          {params{"scope": DefaultClientID + "/.default"}, "", 0},
		"Graph":           {params{"scope": graphURI + "/.default"}, "", 0},
		"no scope":        {params{"scope": "-"}, "invalid_request", 900144},
		"a named scope":   {params{"scope": apiScope}, "invalid_scope", 1002012},
		"unknown":         {params{"scope": "api://nobody/.default"}, "invalid_resource", 500011},
		"at consumers":    {params{"scope": graphURI + "/.default", "tenant": "consumers"}, "unauthorized_client", 700016},
		"at common":       {params{"scope": graphURI + "/.default", "tenant": "common"}, "invalid_request", 9001023},
		"wrong secret":    {params{"scope": graphURI + "/.default", "client_secret": "guess"}, "invalid_client", 7000215},
		"itself, by name": {params{"scope": "api://" + DefaultClientID + "/.default"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.post(w.realm(tc.change), merged(params{
				"grant_type": grantCredentials, "client_id": DefaultClientID, "client_secret": secret,
			}, tc.change))
			if tc.code != 0 {
				status := 400
				if tc.oauth == "invalid_client" {
					status = 401
				}
				checkReply(t, r, status, tc.oauth, tc.code)
			} else if r.Status != http.StatusOK || w.claimsOf(r.Access)["idtyp"] != "app" || r.Refresh != "" {
				t.Errorf("%+v", r)
			}
		})
	}
}
