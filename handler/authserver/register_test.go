package authserver_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
	r.Body = io.NopCloser(bytes.NewReader([]byte(`{"redirect_uris":["javascript:alert(1)"]}`)))
	wantError(t, w.serve(r), http.StatusBadRequest, oauth.InvalidRedirectURI)
	r = registration("192.0.2.1:1000")
	r.Body = io.NopCloser(bytes.NewReader([]byte(`not JSON`)))
	wantError(t, w.serve(r), http.StatusBadRequest, oauth.InvalidClientMetadata)
}

func TestOneAddressCannotFloodRegistration(t *testing.T) {
	w := newWorld(t)
	for range 60 {
		wantStatus(t, w.serve(registration("192.0.2.1:1000")), http.StatusCreated)
	}
	w.table.Taken()
	resp := w.serve(registration("192.0.2.1:2000"))
	wantError(t, resp, http.StatusTooManyRequests, oauth.SlowDown)
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q, want 1", got)
	}
	if reads, writes := w.table.Taken(); reads+writes > 0 {
		t.Errorf("a refused registration costs %d reads and %d writes", reads, writes)
	}
	wantStatus(t, w.serve(registration("192.0.2.2:1000")), http.StatusCreated)
	w.clock.Advance(2 * time.Second)
	wantStatus(t, w.serve(registration("192.0.2.1:1000")), http.StatusCreated)
}

// The same metadata twice is one row, so that this one has to be new.
func TestARefusedRegistrationIsNotWritten(t *testing.T) {
	w := newWorld(t)
	for range 60 {
		w.serve(registration("192.0.2.1:1000"))
	}
	r := registration("192.0.2.1:1000")
	r.Body = io.NopCloser(bytes.NewReader([]byte(`{"client_name":"Another","redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none"}`)))
	w.table.Taken()
	wantStatus(t, w.serve(r), http.StatusTooManyRequests)
	if reads, writes := w.table.Taken(); reads+writes > 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

// Any web page can have its visitors' browsers send text/plain.
func TestRegistrationTakesJSONAlone(t *testing.T) {
	w := newWorld(t)
	for contentType, want := range map[string]int{
		"application/json": http.StatusCreated, "application/json; charset=utf-8": http.StatusCreated, "Application/JSON": http.StatusCreated,
		"text/plain": http.StatusBadRequest, "": http.StatusBadRequest, "application/x-www-form-urlencoded": http.StatusBadRequest,
		"text/plain; application/json": http.StatusBadRequest, "application/jsonx": http.StatusBadRequest,
	} {
		r := registration("192.0.2.1:1000")
		r.Header.Set("Content-Type", contentType)
		if resp := w.serve(r); resp.StatusCode != want {
			t.Errorf("%q: %s, want %d", contentType, resp.Status, want)
		}
	}
}
