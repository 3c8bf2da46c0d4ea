package resilience

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/e2e/stack/faultproxy"
	"entramcp/handler/clocktest"
)

// TestStorageOutage: while the table does not answer, whatever needs it is
// answered 503 in time and changes nothing; whatever does not, is served; and
// afterwards everything goes on from where it was.
func TestStorageOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*storage){
		"requests are reset": func(s *storage) { s.Set(faultproxy.ResetRequests) },
		"answers are reset":  func(s *storage) { s.Set(faultproxy.ResetAnswers) },
		"it stalls":          func(s *storage) { s.Set(faultproxy.Stall) },
		"it is busy":         func(s *storage) { s.busy.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tables := startStorage(t)
			s := stack.Start(t, stack.Options{Instances: 1, Tables: tables.connection, Env: map[string]string{"TIMEOUT_SECONDS": timeout}})
			u := begin(t, s)
			fault(tables)
			u.duringStorageOutage(t)
			tables.Set(faultproxy.None)
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
			if a := u.get("/readyz"); a.status != http.StatusServiceUnavailable || a.text("status") != "not ready" {
				t.Errorf("/readyz answers %d %s", a.status, a.body)
			}
		},
		func() { // a client nobody has asked for yet: it is not known to be unknown
			address, _ := u.authorizeURL()
			unknown := strings.Replace(address, u.ID, "p-"+strings.Repeat("A", 43), 1)
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
	got := c.redeem(code, verifier).tokens(t) // the request is repeated

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
	tables.Set(faultproxy.Stall)
	clocktest.Eventually(t, "/mcp answers 503", bound+5*time.Second, func() bool {
		a := c.call(got.access)
		if a.status != http.StatusOK && !a.unavailable(patience) {
			t.Fatalf("/mcp answers %d %s after %s", a.status, a.body, a.took)
		}
		return a.status != http.StatusOK
	})
	tables.Set(faultproxy.None)
	clocktest.Eventually(t, "/mcp serves again", 10*time.Second, func() bool { return c.call(got.access).status == http.StatusOK })
}
