package authserver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"entramcp/handler/authserver"
	"entramcp/handler/oauth"
)

func registration(remote string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+"/register", strings.NewReader(`{"redirect_uris":["`+callback+`"],"token_endpoint_auth_method":"none"}`))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = remote
	return r
}

func TestRegistrationAnswers(t *testing.T) {
	w := newWorld(t)
	resp := w.serve(registration("192.0.2.1:1000"))
	wantStatus(t, resp, http.StatusCreated)
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := object(t, resp); got["client_id"] == "" || got["client_secret"] != nil {
		t.Errorf("a public client got %v", got)
	}
	r := registration("192.0.2.1:1000")
	r.Body = readAgain([]byte(`{"redirect_uris":["javascript:alert(1)"]}`))
	wantError(t, w.serve(r), http.StatusBadRequest, oauth.InvalidRedirectURI)
	r = registration("192.0.2.1:1000")
	r.Body = readAgain([]byte(`not JSON`))
	wantError(t, w.serve(r), http.StatusBadRequest, oauth.InvalidClientMetadata)
}

func TestOneAddressCannotFloodRegistration(t *testing.T) {
	w := newWorld(t, func(o *authserver.Options) { o.RegisterRate, o.RegisterBurst = 0.5, 3 })
	for range 3 {
		wantStatus(t, w.serve(registration("192.0.2.1:1000")), http.StatusCreated)
	}
	resp := w.serve(registration("192.0.2.1:2000"))
	wantError(t, resp, http.StatusTooManyRequests, oauth.SlowDown)
	if got := resp.Header.Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q, want 2", got)
	}
	wantStatus(t, w.serve(registration("192.0.2.2:1000")), http.StatusCreated)
	w.advance(2 * time.Second)
	wantStatus(t, w.serve(registration("192.0.2.1:1000")), http.StatusCreated)
}
