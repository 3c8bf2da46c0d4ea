package authserver_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/entra"
	"entramcp/handler/secret"
)

// authority is where the simulated tenant is, though no network leads there.
const authority = "https://login.example"

// upstream is Entra as the server sees it: the client that the server has in
// production, the simulated tenant at its other end, and what a test puts
// between the two.
type upstream struct {
	*entra.Client
	tenant *tenant.Tenant
	t      testing.TB

	mu sync.Mutex
	// user is who signs in.
	user string
	// seen are the sign-ins that were begun, and issued the tokens that came.
	seen   []entra.AuthorizeRequest
	issued []string
	// down is the error of every call while it is set.
	down error
	// meanwhile, if set, runs once while a code is exchanged.
	meanwhile func()
}

func newUpstream(t testing.TB, now func() time.Time) *upstream {
	t.Helper()
	u := &upstream{t: t, user: tenant.Alice}
	var err error
	if u.tenant, err = tenant.New(tenant.Options{BaseURL: authority, Now: now, SigningKey: tenant.SharedKey()}); err != nil {
		t.Fatal(err)
	}
	app := tenant.DefaultApp("entra-client-secret")
	app.AdminConsented, app.AssignmentRequired = true, false
	if err := u.tenant.Register(app); err != nil {
		t.Fatal(err)
	}
	u.change(tenant.Alice, func(user *tenant.User) { user.Roles = []string{"Mcp.Reader"} })
	return u
}

// connect makes the client of a server that Entra calls back at redirectURI.
func (u *upstream) connect(redirectURI string, now func() time.Time) {
	u.t.Helper()
	err := u.tenant.Reconfigure(tenant.DefaultClientID, func(app *tenant.App) { app.RedirectURIs = []string{redirectURI} })
	if err != nil {
		u.t.Fatal(err)
	}
	u.Client, err = entra.New(entra.Config{
		Authority: authority, Tenant: tenant.Contoso, ClientID: tenant.DefaultClientID, Secret: entra.Secret{Value: secret.New("entra-client-secret")},
		APIScope: "api://" + tenant.DefaultClientID + "/" + tenant.DefaultScope, RedirectURI: redirectURI, Timeout: 2 * time.Second,
	}, entra.Deps{Now: now, HTTPClient: u.tenant.Client()})
	if err != nil {
		u.t.Fatal(err)
	}
}

// signIn is what the user does at to; the result is the callback's URL.
func (u *upstream) signIn(t testing.TB, to string) string {
	t.Helper()
	back, err := tenant.SignIn(t.Context(), u.tenant.Client(), to, u.user)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// refuse is the callback when Entra refuses at to.
func (u *upstream) refuse(t testing.TB, to, code, description string) string {
	t.Helper()
	q := queryOf(t, to)
	return q.Get("redirect_uri") + "?" + url.Values{"error": {code}, "error_description": {description}, "state": {q.Get("state")}}.Encode()
}

// change edits the account of a user.
func (u *upstream) change(user string, edit func(*tenant.User)) {
	u.t.Helper()
	if err := u.tenant.Change(user, edit); err != nil {
		u.t.Fatal(err)
	}
}

// demand has conditional access demand claims of the user, or nothing any more.
func (u *upstream) demand(claims string) {
	u.t.Helper()
	u.change(u.user, func(user *tenant.User) { user.Challenge = claims })
}

func (u *upstream) AuthorizeURL(ctx context.Context, r entra.AuthorizeRequest) (string, error) {
	u.mu.Lock()
	down := u.down
	if down == nil {
		u.seen = append(u.seen, r)
	}
	u.mu.Unlock()
	if down != nil {
		return "", down
	}
	return u.Client.AuthorizeURL(ctx, r)
}

func (u *upstream) Exchange(ctx context.Context, c entra.Callback) (entra.SignIn, error) {
	u.mu.Lock()
	f := u.meanwhile
	u.meanwhile = nil
	u.mu.Unlock()
	if f != nil {
		f()
	}
	return u.tokens(func() (entra.SignIn, error) { return u.Client.Exchange(ctx, c) })
}

func (u *upstream) Refresh(ctx context.Context, token entra.RefreshToken) (entra.SignIn, error) {
	return u.tokens(func() (entra.SignIn, error) { return u.Client.Refresh(ctx, token) })
}

func (u *upstream) tokens(ask func() (entra.SignIn, error)) (entra.SignIn, error) {
	u.mu.Lock()
	down := u.down
	u.mu.Unlock()
	if down != nil {
		return entra.SignIn{}, down
	}
	s, err := ask()
	if err == nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.issued = append(u.issued, s.RefreshToken.Reveal(), s.AccessToken.Reveal())
	}
	return s, err
}

// breakWith makes every call fail, until it is called with nil.
func (u *upstream) breakWith(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = err
}

// during has f run while the next code is exchanged.
func (u *upstream) during(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.meanwhile = f
}

func (u *upstream) requests() []entra.AuthorizeRequest {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.seen
}

func queryOf(t testing.TB, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}
