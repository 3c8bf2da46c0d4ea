package resilience

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

const (
	// timeout is the TIMEOUT_SECONDS of these tests. Requests then end
	// after 3.5 s; patience leaves a busy machine some more.
	timeout  = "2"
	patience = 6 * time.Second
)

// underway is one connection at each stage of its life, all at once.
type underway struct {
	*client
	confidential     *client
	inspected        tokens
	used, ended      tokens
	code, verifier   string
	form             *stack.Page
	callback         string
	pending, clicked *stack.Browser
}

func begin(t *testing.T, s *stack.Stack) *underway {
	t.Helper()
	u := &underway{client: newClient(t, s).registered("none"), confidential: newClient(t, s).registered("client_secret_post")}
	u.inspected = u.confidential.redeem(u.confidential.signIn()).tokens(t)
	u.used = u.redeem(u.signIn()).tokens(t)
	u.ended = u.redeem(u.signIn()).tokens(t)
	if a := u.call(u.used.access); a.status != http.StatusOK {
		t.Fatalf("before the fault: %d %s", a.status, a.body)
	}
	u.clicked = stack.NewBrowser(stack.Alice)
	address, _ := u.authorizeURL()
	var err error
	if u.form, err = u.clicked.Open(address); err != nil {
		t.Fatal(err)
	}
	u.pending, u.callback = u.atTheDoor(t)
	u.code, u.verifier = u.signIn()
	return u
}

// errHeld stops a browser that is about to open the callback.
var errHeld = errors.New("held at the callback")

// atTheDoor is a browser that has signed in at Entra, and the callback that it
// has not opened yet.
func (u *underway) atTheDoor(t *testing.T) (b *stack.Browser, callback string) {
	t.Helper()
	b = stack.NewBrowser(stack.Alice)
	b.Through(roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/auth/callback" {
			callback = r.URL.String()
			return nil, errHeld
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	address, _ := u.authorizeURL()
	if _, err := b.Approve(address); !errors.Is(err, errHeld) {
		t.Fatalf("the sign-in did not reach the callback: %v", err)
	}
	return b.Through(nil), callback
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// open is a page and where it, or the redirect, leads.
func open(t *testing.T, b *stack.Browser, address string) (*stack.Page, url.Values, time.Duration) {
	t.Helper()
	began := time.Now()
	p, err := b.Open(address)
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return &stack.Page{}, nil, 0
	}
	return p, leadsTo(p), time.Since(began)
}

func leadsTo(p *stack.Page) url.Values {
	to, err := url.Parse(p.Header.Get("Location"))
	if p.Refresh != "" {
		to, err = url.Parse(p.Refresh)
	}
	if err != nil {
		return nil
	}
	return to.Query()
}

// together runs the checks at the same time.
func together(checks ...func()) {
	var wg sync.WaitGroup
	for _, check := range checks {
		wg.Go(check)
	}
	wg.Wait()
}

// afterwards everything that was under way comes to its end.
func (u *underway) afterwards(t *testing.T) {
	if a := u.refresh(u.used.refresh); a.status != http.StatusOK {
		t.Errorf("the same refresh token: %d %s", a.status, a.body)
	}
	if a := u.redeem(u.code, u.verifier); a.status != http.StatusOK {
		t.Errorf("the same code: %d %s", a.status, a.body)
	}
	if p, to, _ := open(t, u.pending, u.callback); to.Get("code") == "" {
		t.Errorf("the same callback: %d leads to %v", p.Status, to)
	}
	p, err := u.clicked.Press(u.form, "decision=approve")
	if err != nil || leadsTo(p).Get("state") == "" {
		t.Errorf("the same consent page leads to %v: %v", leadsTo(p), err)
	}
	if a := u.confidential.introspect(u.inspected.refresh); a.status != http.StatusOK || !strings.Contains(a.body, `"active":true`) {
		t.Errorf("introspection: %d %s", a.status, a.body)
	}
	if a := u.revoke(u.ended.refresh); a.status != http.StatusOK {
		t.Errorf("revocation: %d %s", a.status, a.body)
	}
	if a := u.refresh(u.ended.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("refresh after the revocation: %d %s", a.status, a.body)
	}
	clocktest.Eventually(t, "/readyz is ready", 10*time.Second, func() bool { return u.get("/readyz").status == http.StatusOK })
}
