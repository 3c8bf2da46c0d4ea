package entra

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestSignInRedeemsCodeAndVerifiesWhoSignedIn(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	s, err := c.Exchange(context.Background(), goodCallback())
	if err != nil {
		t.Fatal(err)
	}
	if s.Claims.TenantID != testTenant || s.Claims.ObjectID != testUser || s.Claims.Name != "Ada Lovelace" ||
		s.Claims.Username != "ada@contoso.example" || len(s.Claims.Roles) != 1 || s.Claims.GroupsOverage {
		t.Errorf("claims are %+v", s.Claims)
	}
	if s.RefreshToken != "refresh-2" || s.AccessToken == "" || !s.AccessTokenExpires.Equal(e.clock.Now().Add(time.Hour)) {
		t.Error("tokens or their expiry are wrong")
	}
	form, header := e.lastRequest()
	if form.Get("scope") != "openid profile email offline_access "+testScope {
		t.Errorf("scope is %q", form.Get("scope"))
	}
	if len(header.Get("client-request-id")) != 36 || header.Get("return-client-request-id") != "true" {
		t.Errorf("request id headers are missing")
	}
}

func TestAuthorizeURLHoldsNothingEntraRefuses(t *testing.T) {
	c := newTenant(t).client()
	address, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "st", Nonce: "no", Challenge: "ch"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(u.Path, "/"+testTenant+"/oauth2/v2.0/authorize") {
		t.Errorf("path is %s", u.Path)
	}
	want := url.Values{
		"client_id": {testClient}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {testCallback},
		"scope": {"openid profile email offline_access " + testScope}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {"ch"}, "code_challenge_method": {"S256"},
	}
	if got := u.Query().Encode(); got != want.Encode() {
		t.Errorf("query is\n%s, want\n%s", got, want.Encode())
	}

	address, _ = c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "st", Nonce: "no", Challenge: "ch", Claims: `{"id_token":{}}`, LoginHint: "ada"})
	u, _ = url.Parse(address)
	if u.Query().Get("claims") != `{"id_token":{}}` || u.Query().Get("login_hint") != "ada" {
		t.Errorf("claims or login_hint is missing in %s", address)
	}
}

func TestRefreshKeepsTheOldTokenWhenNoneComes(t *testing.T) {
	e := newTenant(t)
	e.noIDToken = true
	s, err := e.client().Refresh(context.Background(), "refresh-1")
	if err != nil {
		t.Fatal(err)
	}
	if s.RefreshToken != "refresh-1" || s.Claims != nil {
		t.Errorf("refresh token %q, claims %v", s.RefreshToken, s.Claims)
	}
	e.set(func() { e.rotate, e.noIDToken = true, false })
	s, err = e.client().Refresh(context.Background(), "refresh-1")
	if err != nil {
		t.Fatal(err)
	}
	if s.RefreshToken != "refresh-2" || s.Claims == nil || s.Claims.ObjectID != testUser {
		t.Errorf("refresh token %q, claims %v", s.RefreshToken, s.Claims)
	}
}
