package resilience

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
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

// TestStorageOutage: while the table does not answer, whatever needs it is
// answered 503 in time and changes nothing; whatever does not, is served; and
// afterwards everything goes on from where it was.
func TestStorageOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*storage){
		"requests are reset": func(s *storage) { s.fault(requestsReset) },
		"answers are reset":  func(s *storage) { s.fault(answersReset) },
		"it stalls":          func(s *storage) { s.fault(stalled) },
		"it is busy":         func(s *storage) { s.busy.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tables := startStorage(t)
			s := stack.Start(t, stack.Options{Instances: 1, Tables: tables.connection, Env: map[string]string{"TIMEOUT_SECONDS": timeout}})
			u := begin(t, s)
			fault(tables)
			u.duringStorageOutage(t)
			tables.heal()
			tables.busy.Store(false)
			u.afterwards(t)
		})
	}
}

func (u *underway) duringStorageOutage(t *testing.T) {
	unavailable := func(what string, a answer) {
		if !a.unavailable(patience) {
			t.Errorf("%s answers %d %s after %s, Retry-After %q", what, a.status, a.body, a.took, a.header.Get("Retry-After"))
		}
	}
	served := func(what string, a answer) {
		if a.status != http.StatusOK || a.took > patience {
			t.Errorf("%s answers %d %s after %s", what, a.status, a.body, a.took)
		}
	}
	together(
		func() { unavailable("/register", newClientLike(u.client).register("none")) },
		func() { unavailable("/token with a code", u.redeem(u.code, u.verifier)) },
		func() { unavailable("/token with a refresh token", u.refresh(u.used.refresh)) },
		func() { unavailable("/revoke", u.revoke(u.ended.refresh)) },
		func() { unavailable("/introspect", u.confidential.introspect(u.inspected.refresh)) },
		func() { served("/mcp", u.call(u.used.access)) },
		func() { served("/", u.get("/")) },
		func() { served("/healthz", u.get("/healthz")) },
		func() {
			if a := u.get("/readyz"); a.status != http.StatusServiceUnavailable || a.text("storage") != "not ready" {
				t.Errorf("/readyz answers %d %s", a.status, a.body)
			}
		},
		func() { // a client nobody has asked for yet: it is not known to be unknown
			address, _ := u.authorizeURL()
			unknown := strings.Replace(address, u.id, "p-"+strings.Repeat("A", 43), 1)
			if p, _, took := open(t, u.clicked, unknown); p.Status != http.StatusServiceUnavailable || took > patience {
				t.Errorf("/authorize answers %d after %s", p.Status, took)
			}
		},
		func() {
			began := time.Now()
			p, err := u.clicked.Press(u.form, "decision=approve")
			if err != nil || leadsTo(p).Get("error") != "temporarily_unavailable" || time.Since(began) > patience {
				t.Errorf("/consent leads to %v after %s: %v", leadsTo(p), time.Since(began), err)
			}
		},
		func() {
			if p, _, took := open(t, u.pending, u.callback); p.Status != http.StatusServiceUnavailable || took > patience {
				t.Errorf("/auth/callback answers %d after %s", p.Status, took)
			}
		},
	)
}

// newClientLike is another client of the same server.
func newClientLike(c *client) *client {
	another := *c
	another.name += " once more"
	return &another
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
	eventually(t, "/readyz is ready", 10*time.Second, func() bool { return u.get("/readyz").status == http.StatusOK })
}

// TestLostAnswersOfWrites: the table has done what it was asked, and the
// instance does not know. It says so, or finds out; it never guesses.
func TestLostAnswersOfWrites(t *testing.T) {
	t.Parallel()
	k := &killer{}
	s := stack.Start(t, stack.Options{Instances: 1, Tables: k.between(t)})
	c := newClient(t, s)
	lost := func(what string, request func() answer) {
		t.Helper()
		k.loseNext()
		if a := request(); !a.unavailable(patience) {
			t.Errorf("%s answers %d %s", what, a.status, a.body)
		}
	}
	lost("/register", func() answer { return c.register("none") })
	c.registered("none")
	if n := len(rows(t, s, "c-")); n != 1 {
		t.Errorf("registering again made %d clients", n)
	}

	code, verifier := c.signIn()
	lost("/token with a code", func() answer { return c.redeem(code, verifier) })
	if a := c.redeem(code, verifier); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("the second use of a code answers %d %s", a.status, a.body)
	}

	got := c.redeem(c.signIn()).tokens(t)
	k.loseNext()
	next := c.refresh(got.refresh).tokens(t) // it looks what has become of the grant
	if a := c.refresh(got.refresh); a.status != http.StatusOK {
		t.Errorf("a retry within the grace answers %d %s", a.status, a.body)
	}

	lost("/revoke", func() answer { return c.revoke(next.refresh) })
	if a := c.revoke(next.refresh); a.status != http.StatusOK {
		t.Errorf("revoking again answers %d %s", a.status, a.body)
	}
	if a := c.refresh(next.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("refresh after the revocation: %d %s", a.status, a.body)
	}
}

// TestAStalledStorageStopsCallsAfterTheBound: for as long as an instance may
// be ignorant of revocations it serves; past that it does not guess.
func TestAStalledStorageStopsCallsAfterTheBound(t *testing.T) {
	t.Parallel()
	tables := startStorage(t)
	s := stack.Start(t, stack.Options{Instances: 1, Tables: tables.connection})
	c, got := signedIn(t, s)
	if a := c.call(got.access); a.status != http.StatusOK {
		t.Fatalf("before the stall: %d %s", a.status, a.body)
	}
	tables.fault(stalled)
	eventually(t, "/mcp answers 503", bound+5*time.Second, func() bool {
		a := c.call(got.access)
		if a.status != http.StatusOK && !a.unavailable(patience) {
			t.Fatalf("/mcp answers %d %s after %s", a.status, a.body, a.took)
		}
		return a.status != http.StatusOK
	})
	tables.heal()
	eventually(t, "/mcp serves again", 10*time.Second, func() bool { return c.call(got.access).status == http.StatusOK })
}

// TestTenantOutage: while Entra does not answer, nobody is signed out, and
// whatever does not need it is served.
func TestTenantOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*network, *tenant.Tenant){
		"requests are reset":    func(n *network, _ *tenant.Tenant) { n.fault(requestsReset) },
		"answers are reset":     func(n *network, _ *tenant.Tenant) { n.fault(answersReset) },
		"it stalls":             func(n *network, _ *tenant.Tenant) { n.fault(stalled) },
		"it answers 503":        func(_ *network, entra *tenant.Tenant) { entra.Outage(true) },
		"it throttles with 429": func(_ *network, entra *tenant.Tenant) { entra.Throttle(10, 7*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wire *network
			s := stack.Start(t, stack.Options{Instances: 1, Env: map[string]string{"TIMEOUT_SECONDS": timeout}, Via: func(listens string) string {
				wire = networkTo(t, listens)
				return "http://" + wire.address
			}})
			u := begin(t, s)
			fault(wire, s.Tenant)
			u.duringTenantOutage(t)
			if strings.Contains(name, "429") {
				if a := u.refresh(u.used.refresh); a.header.Get("Retry-After") != "7" {
					t.Errorf("Entra's Retry-After of 7 is passed on as %q", a.header.Get("Retry-After"))
				}
			}
			wire.heal()
			s.Tenant.Outage(false)
			s.Tenant.Throttle(0, 0)

			// What Entra had no part in is done already; the rest goes on.
			u.code, u.verifier = u.signIn()
			u.pending, u.callback = u.atTheDoor(t)
			u.afterwards(t)
		})
	}
}

func (u *underway) duringTenantOutage(t *testing.T) {
	together(
		func() {
			if a := u.refresh(u.used.refresh); !a.unavailable(patience) {
				t.Errorf("/token answers %d %s after %s, Retry-After %q", a.status, a.body, a.took, a.header.Get("Retry-After"))
			}
		},
		func() {
			if a := u.redeem(u.code, u.verifier); a.status != http.StatusOK {
				t.Errorf("/token with a code answers %d %s", a.status, a.body)
			}
		},
		func() {
			if a := u.call(u.used.access); a.status != http.StatusOK {
				t.Errorf("/mcp answers %d %s", a.status, a.body)
			}
		},
		func() {
			// What instances need of Entra to verify tokens they have.
			if a := u.get("/readyz"); a.status != http.StatusOK {
				t.Errorf("/readyz answers %d %s", a.status, a.body)
			}
		},
		func() {
			p, to, took := open(t, u.pending, u.callback)
			if to.Get("error") != "temporarily_unavailable" || to.Get("state") == "" || took > patience {
				t.Errorf("/auth/callback: %d leads to %v after %s", p.Status, to, took)
			}
		},
	)
}
