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

func registration(remote string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+"/register", strings.NewReader(`{"redirect_uris":["`+callback+`"],"token_endpoint_auth_method":"none"}`))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = remote
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
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

func TestTheClientAddressCannotBeForged(t *testing.T) {
	for name, tt := range map[string]struct {
		inAzure bool
		next    func(i string) *http.Request
	}{
		"made-up hops in front":    {true, func(i string) *http.Request { return registration("127.0.0.1:1", "10.0.0."+i+", 198.51.100.7:4"+i) }},
		"made-up header lines":     {true, func(i string) *http.Request { return registration("127.0.0.1:1", "10.0.0."+i, "198.51.100.7") }},
		"a header outside Azure":   {false, func(i string) *http.Request { return registration("192.0.2.1:1", "10.0.0."+i) }},
		"one subscriber's network": {true, func(i string) *http.Request { return registration("127.0.0.1:1", "[2001:db8:1:2::"+i+"]:443") }},
		"IPv6 without a port":      {true, func(i string) *http.Request { return registration("127.0.0.1:1", "2001:db8:1:2:"+i+"::1") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *authserver.Options) { o.InAzure, o.RegisterRate, o.RegisterBurst = tt.inAzure, 0.001, 2 })
			wantStatus(t, w.serve(tt.next("1")), http.StatusCreated)
			wantStatus(t, w.serve(tt.next("2")), http.StatusCreated)
			wantStatus(t, w.serve(tt.next("3")), http.StatusTooManyRequests)
		})
	}
	w := newWorld(t, func(o *authserver.Options) { o.InAzure, o.RegisterRate, o.RegisterBurst = true, 0.001, 1 })
	wantStatus(t, w.serve(registration("127.0.0.1:1", "198.51.100.7")), http.StatusCreated)
	wantStatus(t, w.serve(registration("127.0.0.1:1", "10.0.0.1, 198.51.100.9:443")), http.StatusCreated)
	wantStatus(t, w.serve(registration("127.0.0.1:1", "10.0.0.1, 198.51.100.10:443")), http.StatusCreated)
	wantStatus(t, w.serve(registration("127.0.0.1:1", "198.51.100.8")), http.StatusCreated)
	wantStatus(t, w.serve(registration("127.0.0.1:1", "2001:db8:1:2::1")), http.StatusCreated)
	wantStatus(t, w.serve(registration("127.0.0.1:1", "2001:db8:1:3::1")), http.StatusCreated)
}
