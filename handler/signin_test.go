package handler_test

import (
	"bytes"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/clocktest"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// app is a client, and the browser of its user.
type app struct {
	*entraWorld
	// id and, of a confidential client, secret are what it was registered with.
	id, secret string
	redirect   string
	// bare: it sends neither PKCE nor resource.
	bare bool
	jar  map[string]*http.Cookie
	// access and refresh are what it holds.
	access, refresh string
}

// send is what the browser or the app sends to an instance, and what comes back.
func (a *app) send(to http.Handler, r *http.Request) *httptest.ResponseRecorder {
	if a.jar == nil {
		a.jar = map[string]*http.Cookie{}
	}
	for _, c := range a.jar {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	to.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		a.jar[c.Name] = c
	}
	return rec
}

func (a *app) get(to http.Handler, address string) *httptest.ResponseRecorder {
	return a.send(to, httptest.NewRequest(http.MethodGet, address, nil))
}

func (a *app) form(to http.Handler, path string, values url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, mcpIssuer+path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", mcpIssuer)
	return a.send(to, r)
}

var (
	requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)
	goesOnTo     = regexp.MustCompile(`http-equiv="refresh" content="0;url=([^"]+)"`)
)

// register registers a client that says that of itself, and whose only redirect
// URI is redirect.
func (w *entraWorld) register(to http.Handler, redirect string, metadata map[string]any) *app {
	w.t.Helper()
	a := &app{entraWorld: w, redirect: redirect}
	metadata["redirect_uris"], metadata["grant_types"] = []string{redirect}, []string{"authorization_code", "refresh_token"}
	body, err := json.Marshal(metadata)
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/register", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	var registered struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	rec := a.send(to, r)
	if err := json.Unmarshal(rec.Body.Bytes(), &registered); err != nil || registered.ID == "" {
		w.t.Fatalf("no registration: %d %s %v", rec.Code, rec.Body, err)
	}
	a.id, a.secret = registered.ID, registered.Secret
	return a
}

// authorize takes a user of the tenant through registration, consent and sign-in,
// and returns what the browser is shown in the end: a redirect with a code, or a
// page that says why not.
func (w *entraWorld) authorize(to http.Handler, username string) (*app, *httptest.ResponseRecorder) {
	w.t.Helper()
	a, back := w.signIn(to, username)
	return a, a.get(to, back)
}

// signIn is authorize up to where Entra sends the browser back to.
func (w *entraWorld) signIn(to http.Handler, username string) (a *app, back string) {
	w.t.Helper()
	a = w.register(to, mcpRedirect, map[string]any{"client_name": "app " + username, "token_endpoint_auth_method": "none"})
	return a, a.approve(to, username)
}

// request is the address of the app's authorization request.
func (a *app) request() string {
	q := url.Values{"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {"s"}, "scope": {"openid profile email offline_access"}}
	if !a.bare {
		q.Set("code_challenge", oauth.S256(mcpVerifier))
		q.Set("code_challenge_method", "S256")
		q.Set("resource", string(mcpResource))
	}
	return mcpIssuer + "/authorize?" + q.Encode()
}

// approval opens the consent page and returns the form that its Approve sends, when
// that is enabled.
func (a *app) approval(to http.Handler) url.Values {
	a.t.Helper()
	page := a.get(to, a.request())
	request := requestField.FindStringSubmatch(page.Body.String())
	if request == nil {
		a.t.Fatalf("no consent page: %d %s", page.Code, page.Body)
	}
	a.clock.Advance(time.Second) // the button is enabled late
	return url.Values{"request": {html.UnescapeString(request[1])}, "decision": {"approve"}}
}

// approve takes a user of the tenant through consent and sign-in, up to where
// Entra sends the browser back to.
func (a *app) approve(to http.Handler, username string) (back string) {
	a.t.Helper()
	approved := a.form(to, "/consent", a.approval(to))
	onward := goesOnTo.FindStringSubmatch(approved.Body.String())
	if onward == nil {
		a.t.Fatalf("not sent on to Entra: %d %s", approved.Code, approved.Body)
	}
	back, err := tenant.SignIn(a.t.Context(), http.DefaultClient, html.UnescapeString(onward[1]), username)
	if err != nil {
		a.t.Fatal(err)
	}
	return back
}

// connect is authorize, and the code redeemed.
func (w *entraWorld) connect(to http.Handler, username string) *app {
	w.t.Helper()
	a, end := w.authorize(to, username)
	a.redeem(to, end)
	return a
}

// redeem exchanges the code of a redirect to the client.
func (a *app) redeem(to http.Handler, end *httptest.ResponseRecorder) {
	a.t.Helper()
	location, err := url.Parse(end.Header().Get("Location"))
	if err != nil || location.Query().Get("code") == "" || !strings.HasPrefix(location.String(), a.redirect+"?") {
		a.t.Fatalf("no code: %d %s %v", end.Code, location, err)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {location.Query().Get("code")}, "redirect_uri": {a.redirect}}
	if !a.bare {
		form.Set("code_verifier", mcpVerifier)
	}
	if status := a.token(to, form); status != http.StatusOK {
		a.t.Fatalf("the code: %d", status)
	}
}

// token asks for tokens, and keeps them.
func (a *app) token(to http.Handler, values url.Values) int {
	a.t.Helper()
	values.Set("client_id", a.id)
	if a.secret != "" {
		values.Set("client_secret", a.secret)
	}
	rec := a.form(to, "/token", values)
	var body struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		a.t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if rec.Code == http.StatusOK {
		a.access, a.refresh = body.Access, body.Refresh
	}
	return rec.Code
}

// renew is what a client does that refreshes.
func (a *app) renew(to http.Handler) int {
	return a.token(to, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.refresh}})
}

// A client that does not refresh holds a token of a day. Its user is disabled in
// Entra: one interval later every instance refuses it.
func TestADisabledUserWithATokenOfADayIsOutAfterOneInterval(t *testing.T) {
	const interval = time.Hour
	w := newEntraWorld(t, map[string]string{"ACCESS_TOKEN_LIFETIME": "24h", "ENTRA_RECHECK": interval.String()})
	one, other := w.server, w.another()
	alice, bob := w.connect(one, tenant.Alice), w.connect(other, tenant.Bob)
	status := func(to http.Handler, a *app) int {
		t.Helper()
		code, _ := w.callAt(to, a.access, "caller")
		return code
	}
	want := func(to http.Handler, a *app, want int, when string) {
		t.Helper()
		if got := status(to, a); got != want {
			t.Errorf("%s: %d, want %d", when, got, want)
		}
	}
	for _, to := range []http.Handler{one, other} {
		want(to, alice, http.StatusOK, "signed in")
		want(to, bob, http.StatusOK, "signed in")
	}
	if err := w.Change(tenant.Alice, func(u *tenant.User) { u.Disabled = true }); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(interval - time.Minute)
	want(one, alice, http.StatusOK, "within the interval, by the token alone")
	w.clock.Advance(2 * time.Minute)
	status(one, alice) // the first call after the interval has Entra asked
	clocktest.Eventually(t, "refused where Entra was asked", 10*time.Second, func() bool { return status(one, alice) == http.StatusUnauthorized })
	w.clock.Advance(grants.MaxStale + time.Second)
	for name, to := range map[string]http.Handler{"the other instance": other, "an instance that has just started": w.another()} {
		want(to, alice, http.StatusUnauthorized, name)
		want(to, bob, http.StatusOK, name+", of somebody else")
	}
	if got := alice.renew(other); got != http.StatusBadRequest {
		t.Errorf("the refresh token: %d", got)
	}
	// The verdict on Bob came in the background too, and his token lives on.
	w.clock.Advance(interval / 2)
	want(one, bob, http.StatusOK, "half an interval later")
}
