package clients

import (
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

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
		form := assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(attacker, clock.at, "aud", "http://localhost:7071")))
		_, err := r.Authenticate(t.Context(), nil, form)
		wantCode(t, err, oauth.InvalidClient)
	}
	poison()
	if _, err := r.Lookup(t.Context(), victim); err != nil {
		t.Error("never fetched before:", err)
	}
	clock.advance(defaultFresh + time.Second)
	poison()
	if _, err := r.Lookup(t.Context(), victim); err != nil {
		t.Error("due for another fetch:", err)
	}
}
