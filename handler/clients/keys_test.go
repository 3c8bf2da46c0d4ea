package clients

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
)

// An attacker registers a client whose jwks_uri is somebody else's metadata
// document, and keeps having it fetched as a key set, which it is not. The
// client with that metadata goes on working.
func TestMetadataNamedAsKeySetStaysMetadata(t *testing.T) {
	s, web := newSigners(t), newSite(t)
	victim := serveDocument(web)
	r, clock := documentRegistry(t, web, Options{})
	attacker := register(t, r, fmt.Sprintf(`{"redirect_uris":["https://evil.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":%q}`, victim)).ClientID
	poison := func() {
		t.Helper()
		form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(attacker, clock.Now(), "aud", "http://localhost:7071")))
		_, err := r.Authenticate(t.Context(), nil, form)
		wantCode(t, err, oauth.InvalidClient)
	}
	poison()
	if _, err := r.Lookup(t.Context(), victim); err != nil {
		t.Error("never fetched before:", err)
	}
	clock.Advance(defaultFresh + time.Second)
	poison()
	if _, err := r.Lookup(t.Context(), victim); err != nil {
		t.Error("due for another fetch:", err)
	}
}

func TestEachPrivateMemberMakesAKeySetRefused(t *testing.T) {
	s := newSigners(t)
	for name, set := range map[string]string{
		"EC":         jwks(t, true, s.ec),
		"RSA":        jwks(t, true, s.rsa),
		"Ed25519":    jwks(t, true, s.ed),
		"d alone":    strings.Replace(jwks(t, false, s.ec), `"kty"`, `"d":"AQ","kty"`, 1),
		"p alone":    strings.Replace(jwks(t, false, s.rsa), `"kty"`, `"p":"AQ","kty"`, 1),
		"k alone":    strings.Replace(jwks(t, false, s.ec), `"kty"`, `"k":"AQ","kty"`, 1),
		"one of two": strings.Replace(jwks(t, false, s.ec, s.rsa), `"kty":"EC"`, `"d":"AQ","kty":"EC"`, 1),
	} {
		if _, err := parseKeys([]byte(set)); err == nil || !strings.Contains(err.Error(), "private or symmetric") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each check of a signature costs what the key's owner likes: keys that are
// larger than any in use are not keys for us.
func TestExpensiveKeysAreNotUsed(t *testing.T) {
	rsaKey := func(bits int, exponent string) string {
		n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
		return `{"keys":[{"kty":"RSA","e":"` + exponent + `","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `"}]}`
	}
	for name, tt := range map[string]struct {
		set      string
		accepted bool
	}{
		"2048 bits":       {rsaKey(2048, "AQAB"), true},
		"4096 bits":       {rsaKey(4096, "AQAB"), true},
		"4097 bits":       {rsaKey(4097, "AQAB"), false},
		"8192 bits":       {rsaKey(8192, "AQAB"), false},
		"2047 bits":       {rsaKey(2047, "AQAB"), false},
		"exponent 3":      {rsaKey(2048, "Aw"), true},
		"exponent 65539":  {rsaKey(2048, "AQAD"), false},
		"exponent 2^31-1": {rsaKey(2048, "f____w"), false},
		"eight keys":      {`{"keys":[` + strings.TrimSuffix(strings.Repeat(strings.Trim(strings.TrimPrefix(rsaKey(2048, "AQAB"), `{"keys":[`), "]}")+"},", 8), ",") + `]}`, true},
		"nine keys":       {`{"keys":[` + strings.TrimSuffix(strings.Repeat(strings.Trim(strings.TrimPrefix(rsaKey(2048, "AQAB"), `{"keys":[`), "]}")+"},", 9), ",") + `]}`, false},
	} {
		if keys, err := parseKeys([]byte(tt.set)); (err == nil) != tt.accepted {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

// TestAKeyIsForTheAlgorithmThatItNames, and for nothing but signatures (RFC 7517
// §4.2, §4.4).
func TestAKeyIsForTheAlgorithmThatItNames(t *testing.T) {
	s := newSigners(t)
	with := func(member string) string { return strings.Replace(jwks(t, false, s.rsa), `"kty"`, member+`,"kty"`, 1) }
	for set, want := range map[string][]string{
		jwks(t, false, s.rsa):    {"RS256", "PS256"},
		with(`"alg":"PS256"`):    {"PS256"},
		with(`"use":"sig"`):      {"RS256", "PS256"},
		with(`"alg":"ES256"`):    nil,
		with(`"alg":"RSA-OAEP"`): nil,
		with(`"use":"enc"`):      nil,
	} {
		keys, err := parseKeys([]byte(set))
		if (err == nil) != (want != nil) || want != nil && !slices.Equal(slices.Sorted(slices.Values(keys[0].algorithms)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: %v, %v, want %q", set, keys, err, want)
		}
	}
}

// CLIENT_METADATA_HOSTS binds the fetching of keys as well, also of clients
// that registered before it was tightened and of pinned documents.
func TestKeysAreFetchedFromPermittedHostsOnly(t *testing.T) {
	s, site := newSigners(t), newSite(t)
	site.serveJSON(s.jwks)
	table := openTable(t)
	clock := clocktest.New()
	o := site.localOptions()
	o.Table, o.Now = table, clock.Now
	body := fmt.Sprintf(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":%q}`, site.URL+"/k")
	open := newRegistry(t, o)
	id := register(t, open, body).ClientID
	if _, err := open.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now(), "aud", o.Issuer)))); err != nil {
		t.Fatal(err)
	}
	var err error
	o.Documents.Hosts = hostsOf(t, "none")
	document := strings.Replace(body, "{", `{"client_id":"`+appURL+`","client_name":"App",`, 1)
	o.Documents.Pinned = Pinned{appURL: []byte(document)}
	closed := newRegistry(t, o)
	before := site.conns.Load()
	for _, client := range []string{id, appURL} {
		_, err := closed.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(client, clock.Now(), "aud", o.Issuer))))
		if refusal := wantCode(t, err, oauth.InvalidClient); !strings.Contains(refusal.Description, "does not fetch from its host") {
			t.Errorf("%s: %s", client, refusal.Description)
		}
	}
	if n := site.conns.Load() - before; n != 0 {
		t.Errorf("%d connections", n)
	}
	_, err = closed.Register(t.Context(), "application/json", strings.NewReader(body))
	wantCode(t, err, oauth.InvalidClientMetadata)
}

// A key set that cannot be fetched is no fault of the client: it would register
// again if it were told invalid_client.
func TestKeysThatCannotBeFetchedAreUnavailable(t *testing.T) {
	s, site := newSigners(t), newSite(t)
	site.serveStatus(http.StatusServiceUnavailable)
	clock := clocktest.New()
	o := site.localOptions()
	o.Now = clock.Now
	r := newRegistry(t, o)
	id := register(t, r, fmt.Sprintf(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":%q}`, site.URL+"/k")).ClientID
	attempt := func() error {
		_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now(), "aud", o.Issuer))))
		return err
	}
	wantCode(t, attempt(), oauth.TemporarilyUnavailable)
	site.Close()
	wantCode(t, attempt(), oauth.TemporarilyUnavailable)
	for range hostAddressFetches.Burst {
		_ = attempt()
	}
	wantCode(t, attempt(), oauth.SlowDown)
	if _, err := r.Lookup(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// The keys of a client in use are shared, so that an instance that starts while
// their host is away still knows them.
func TestKeysOfAClientInUseAreShared(t *testing.T) {
	s, site := newSigners(t), newSite(t)
	site.serveJSON(s.jwks)
	table := openTable(t)
	clock := clocktest.New()
	o := site.localOptions()
	o.Table, o.Now = table, clock.Now
	r := newRegistry(t, o)
	id := register(t, r, fmt.Sprintf(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":%q}`, site.URL+"/k")).ClientID
	form := func() url.Values {
		return assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now(), "aud", o.Issuer)))
	}
	c, err := r.Authenticate(t.Context(), nil, form())
	if err != nil {
		t.Fatal(err)
	}
	if n := countRows(t, table, DocumentPrefix); n != 0 {
		t.Errorf("%d rows before the client has got tokens", n)
	}
	r.Touch(t.Context(), c)
	site.Close()
	if _, err := newRegistry(t, o).Authenticate(t.Context(), nil, form()); err != nil {
		t.Error(err)
	}
}
