package authserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

func readAgain(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// upstream is a small Entra that checks what must be right: codes are redeemed
// once, with the verifier and the nonce of their own sign-in.
type upstream struct {
	mu      sync.Mutex
	n       int
	codes   map[string]entra.AuthorizeRequest
	refresh map[string]bool
	// seen are the requests as they came, and down is the error of every
	// call while it is set.
	seen []entra.AuthorizeRequest
	down error
	// rotating makes a refresh token of no use once it was used.
	rotating bool
	// meanwhile, if set, runs once while a code is exchanged.
	meanwhile func()
	// at is where it signs people in.
	at string
	// user is who signs in.
	user entra.Claims
}

func newUpstream() *upstream {
	return &upstream{codes: map[string]entra.AuthorizeRequest{}, refresh: map[string]bool{}, at: "https://login.example",
		user: entra.Claims{TenantID: "tenant-1", ObjectID: "object-1", Name: "Ada", Username: "ada@contoso.example", Roles: []string{"Reader"}}}
}

func (u *upstream) AuthorizeURL(_ context.Context, r entra.AuthorizeRequest) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down != nil {
		return "", u.down
	}
	u.seen = append(u.seen, r)
	return u.at + "/authorize?" + url.Values{"state": {r.State}, "nonce": {r.Nonce}, "code_challenge": {r.CodeChallenge}, "claims": {r.Claims}}.Encode(), nil
}

// signIn is what the user does at to; the result is the callback's URL.
func (u *upstream) signIn(t testing.TB, to string) string {
	t.Helper()
	q := queryOf(t, to)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
	code := "entra-code-" + strconv.Itoa(u.n)
	u.codes[code] = entra.AuthorizeRequest{State: q.Get("state"), Nonce: q.Get("nonce"), CodeChallenge: q.Get("code_challenge")}
	return issuer + "/auth/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}, "session_state": {"s"}}.Encode()
}

// refuse is the callback when Entra refuses at to.
func (u *upstream) refuse(t testing.TB, to, code, description string) string {
	t.Helper()
	return issuer + "/auth/callback?" + url.Values{"error": {code}, "error_description": {description}, "state": {queryOf(t, to).Get("state")}}.Encode()
}

// during has f run while the next code is exchanged.
func (u *upstream) during(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.meanwhile = f
}

func (u *upstream) Exchange(ctx context.Context, c entra.Callback) (entra.SignIn, error) {
	u.mu.Lock()
	f := u.meanwhile
	u.meanwhile = nil
	u.mu.Unlock()
	if f != nil {
		f()
	}
	if err := ctx.Err(); err != nil {
		return entra.SignIn{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down != nil {
		return entra.SignIn{}, u.down
	}
	r, ok := u.codes[c.Code.Reveal()]
	delete(u.codes, c.Code.Reveal())
	if !ok || s256(c.Verifier.Reveal()) != r.CodeChallenge || c.Nonce != r.Nonce {
		return entra.SignIn{}, errors.New("upstream: code, verifier and nonce do not belong together")
	}
	return u.tokens(), nil
}

func (u *upstream) Refresh(_ context.Context, token entra.RefreshToken) (entra.SignIn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down != nil {
		return entra.SignIn{}, u.down
	}
	if !u.refresh[token.Reveal()] {
		return entra.SignIn{}, &entra.Failure{Kind: entra.SignInOver, OAuth: oauth.AccessDenied, Summary: "The sign-in is over."}
	}
	if u.rotating {
		delete(u.refresh, token.Reveal())
	}
	return u.tokens(), nil
}

func (u *upstream) rotates() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rotating = true
}

func (u *upstream) FromRedirect(q url.Values) *entra.Failure {
	f := entra.FromRedirect(q)
	if f != nil && f.Kind == entra.ConsentNeeded {
		f.ConsentURL = "https://login.example/adminconsent"
	}
	return f
}

func (u *upstream) tokens() entra.SignIn {
	u.n++
	token := "entra-refresh-" + strconv.Itoa(u.n)
	u.refresh[token] = true
	user := u.user
	return entra.SignIn{Claims: &user, RefreshToken: entra.RefreshToken{Value: secret.New(token)},
		AccessToken: entra.AccessToken{Value: secret.New("entra-access-" + strconv.Itoa(u.n))}, AccessTokenExpires: time.Now().Add(time.Hour)}
}

// breakWith makes every call fail, until it is called with nil.
func (u *upstream) breakWith(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = err
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
