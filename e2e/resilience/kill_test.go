package resilience

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// writes are all writes of a connection's life, in their order: the request
// that makes each, and what another instance answers to the same request when
// the instance that made the write died of it, or died before it.
var writes = []struct {
	request, write   string
	ifMade, ifUnmade int
}{
	// The id is the hash of the metadata, so there is nothing to lose.
	{"/register", "POST c", http.StatusCreated, http.StatusCreated},
	// The browser has no cookie for the first transaction: it makes another.
	{"/consent", "POST t", http.StatusOK, http.StatusOK},
	// A callback claims the transaction before it asks Entra. Past that there is
	// no telling whether Entra's code is spent, until the answer is written.
	{"/auth/callback", "PUT t", http.StatusBadRequest, http.StatusSeeOther},
	{"/auth/callback", "POST g", http.StatusBadRequest, http.StatusBadRequest},
	{"/auth/callback", "PUT t", http.StatusSeeOther, http.StatusBadRequest},
	// Redemption and refresh can be repeated for a while.
	{"/token", "PUT g", http.StatusOK, http.StatusOK},
	{"/token", "PUT g", http.StatusOK, http.StatusOK},
	{"/revoke", "POST r", http.StatusOK, http.StatusOK},
	// This one is for instances of an earlier version, while there may be some.
	{"/revoke", "POST revoked", http.StatusOK, http.StatusOK},
	{"/revoke", "PUT g", http.StatusOK, http.StatusOK},
}

// TestSIGKILLAtEveryWrite: wherever an instance dies, the client that repeats
// its request on another either gets what it asked for or is cleanly refused
// and can begin again, and whatever was revoked stays so.
func TestSIGKILLAtEveryWrite(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 1})
	survivor := s.Instances[0]

	t.Run("the writes are these", func(t *testing.T) {
		k := &killer{}
		live(t, s, k, survivor)
		want := make([]string, len(writes))
		for n, w := range writes {
			want[n] = w.write
		}
		if !slices.Equal(k.writes, want) {
			t.Fatalf("the writes are %v, want %v", k.writes, want)
		}
	})
	for n, w := range writes {
		for made, status := range map[bool]int{true: w.ifMade, false: w.ifUnmade} {
			t.Run(fmt.Sprintf("%d %s at %s, made %v", n+1, w.write, w.request, made), func(t *testing.T) {
				t.Parallel()
				f := live(t, s, &killer{at: n + 1, made: made}, survivor)
				if f.interrupted != w.request || f.repeated != status {
					t.Errorf("repeating %s got %d, want %s and %d", f.interrupted, f.repeated, w.request, status)
				}
			})
		}
	}
}

// live goes through a connection's life, from registration to revocation, at an
// instance that k kills, then at the survivor. Where it is refused it begins
// again.
func live(t *testing.T, s *stack.Stack, k *killer, survivor *stack.Instance) *failover {
	t.Helper()
	k.victim = s.Aside(t, map[string]string{"TABLES_CONNECTION_STRING": k.between(t)})
	k.victim.WaitReady()
	c := newClient(t, s)
	f := &failover{public: s.URL, victim: to(s.URL, k.victim), survivor: to(s.URL, survivor)}
	c.HTTP.Transport, c.browser = f, c.browser.Through(f)

	got := c.registered("none").connected(f)
	if a := c.call(got.access); a.status != http.StatusOK {
		t.Errorf("the first call: %d %s", a.status, a.body)
	}
	got = c.refresh(got.refresh).tokens(t)
	if a := c.call(got.access); a.status != http.StatusOK {
		t.Errorf("the call after the refresh: %d %s", a.status, a.body)
	}
	if a := c.revoke(got.refresh); a.status != http.StatusOK {
		t.Errorf("revocation: %d %s", a.status, a.body)
	}
	there := c.at(survivor)
	if a := there.refresh(got.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("refresh after the revocation: %d %s", a.status, a.body)
	}
	clocktest.Eventually(t, "the survivor refuses the access token", bound, func() bool {
		return there.call(got.access).status == http.StatusUnauthorized
	})
	return f
}

// connected signs in until there are tokens: twice at most, and the second time
// only because an instance died.
func (c *client) connected(f *failover) tokens {
	c.t.Helper()
	for range 2 {
		address, verifier := c.authorizeURL()
		back, err := c.browser.Approve(address)
		if err != nil {
			if f.interrupted == "" {
				c.t.Fatal(err)
			}
			continue
		}
		a := c.redeem(back.Query().Get("code"), verifier)
		if a.status == http.StatusOK {
			return a.tokens(c.t)
		}
		if f.interrupted == "" || !a.is(http.StatusBadRequest, "invalid_grant") {
			c.t.Fatalf("redemption: %d %s", a.status, a.body)
		}
	}
	c.t.Fatal("signing in again did not help")
	return tokens{}
}

// TestABegunRevocationIsCompletedByOthers: the instance dies between the two
// writes of a revocation, and the client never asks again.
func TestABegunRevocationIsCompletedByOthers(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 2})
	c, got := signedIn(t, s)
	k := &killer{at: 1, made: true}
	k.victim = s.Aside(t, map[string]string{"TABLES_CONNECTION_STRING": k.between(t)})
	k.victim.WaitReady()
	dying := c.at(k.victim)
	res, err := dying.HTTP.PostForm(s.URL+"/revoke", map[string][]string{"client_id": {c.ID}, "token": {got.refresh}})
	if err == nil {
		_ = res.Body.Close()
		t.Fatalf("the victim answered %s", res.Status)
	}
	clocktest.Eventually(t, "the access token is refused", bound, func() bool {
		return c.at(s.Instances[0]).call(got.access).status == http.StatusUnauthorized
	})
	clocktest.Eventually(t, "the refresh token is refused elsewhere", bound, func() bool {
		return c.at(s.Instances[1]).refresh(got.refresh).is(http.StatusBadRequest, "invalid_grant")
	})
}
