package resilience

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// instances is how many processes share a table in these tests.
const instances = 4

// bound is how long an access token may outlive its revocation.
const bound = 15 * time.Second

// atOnce makes n requests together, spread over all instances.
func atOnce(s *stack.Stack, c *client, n int, request func(*client) answer) []answer {
	answers := make([]answer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for k := range n {
		there := c.at(s.Instances[k%len(s.Instances)])
		wg.Go(func() {
			<-start
			answers[k] = request(there)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// Test200RedemptionsRedeemOnce: clients lose answers and repeat the request. All
// of them get tokens of the one generation that the code was redeemed to.
func Test200RedemptionsRedeemOnce(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: instances})
	c := newClient(t, s).registered("none")
	code, verifier := c.signIn()

	var got []tokens
	for _, a := range atOnce(s, c, 200, func(c *client) answer { return c.redeem(code, verifier) }) {
		got = append(got, a.tokens(t))
	}
	if n := generation(t, s, "g-"); n != 1 {
		t.Errorf("200 parallel redemptions led to generation %d, want 1", n)
	}
	if a := c.redeem(code, verifier+"x"); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("with another verifier: %d %s", a.status, a.body)
	}
	for k, a := range atOnce(s, c, len(got), func(c *client) answer { return c.call(got[0].access) }) {
		if a.status != http.StatusOK {
			t.Errorf("access token at request %d: %d %s", k, a.status, a.body)
		}
	}
	if a := c.refresh(got[len(got)-1].refresh); a.status != http.StatusOK {
		t.Errorf("refresh: %d %s", a.status, a.body)
	}
}

// refusedEverywhere waits for all instances to refuse an access token.
func refusedEverywhere(t *testing.T, s *stack.Stack, c *client, access string) {
	t.Helper()
	revoked := time.Now()
	for _, i := range s.Instances {
		clocktest.Eventually(t, "the access token is refused at "+i.URL, bound-time.Since(revoked), func() bool {
			a := c.at(i).call(access)
			if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
				t.Errorf("/mcp answers %d %s", a.status, a.body)
			}
			return a.status == http.StatusUnauthorized
		})
	}
}

// TestFiftyRefreshesGiveOneSuccessor: agents refresh in parallel and lose
// answers. None of that logs anybody out, nor leaves a second line of tokens.
func TestFiftyRefreshesGiveOneSuccessor(t *testing.T) {
	t.Parallel()
	// A generation younger than a fifteenth of the grace is not rotated.
	s := stack.Start(t, stack.Options{Instances: instances, Env: map[string]string{"REFRESH_GRACE": "30s"}})
	c, first := signedIn(t, s)

	var got []tokens
	for _, a := range atOnce(s, c, 50, func(c *client) answer { return c.refresh(first.refresh) }) {
		got = append(got, a.tokens(t))
	}
	if n := generation(t, s, "g-"); n != 2 {
		t.Errorf("50 parallel refreshes led to generation %d, want 2", n)
	}
	for k, a := range atOnce(s, c, len(got), func(c *client) answer { return c.call(got[0].access) }) {
		if a.status != http.StatusOK {
			t.Errorf("access token at request %d: %d %s", k, a.status, a.body)
		}
	}
	// The answer was lost, so the client repeats the request elsewhere.
	if a := c.at(s.Instances[3]).refresh(first.refresh); a.status != http.StatusOK {
		t.Errorf("a retry got %d %s", a.status, a.body)
	}
	// Each of the 50 is good, and using them all is one more step.
	time.Sleep(2100 * time.Millisecond)
	for k, refreshed := range got {
		if a := c.at(s.Instances[k%instances]).refresh(refreshed.refresh); a.status != http.StatusOK {
			t.Fatalf("refresh token %d of 50: %d %s", k, a.status, a.body)
		}
	}
	if n := generation(t, s, "g-"); n != 3 {
		t.Errorf("the grant is at generation %d, want 3", n)
	}
}

// generation is that of the only live grant.
func generation(t *testing.T, s *stack.Stack, prefix string) int {
	t.Helper()
	live := rows(t, s, prefix)
	if len(live) != 1 {
		t.Fatalf("there are %d grants", len(live))
	}
	var grant struct {
		Generation int       `json:"gen"`
		Revoked    time.Time `json:"revoked"`
	}
	if err := json.Unmarshal(live[0].Value, &grant); err != nil || !grant.Revoked.IsZero() {
		t.Fatalf("the grant has ended: %v", err)
	}
	return grant.Generation
}

// TestReuseRevokesOnEveryInstance: a token that was used longer ago than the
// grace is known to two parties. Refreshing ends at once, calling within the bound.
func TestReuseRevokesOnEveryInstance(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: instances, Env: map[string]string{"REFRESH_GRACE": "3s"}})
	c, first := signedIn(t, s)
	second := c.at(s.Instances[0]).refresh(first.refresh).tokens(t)
	time.Sleep(300 * time.Millisecond) // a younger generation is not rotated
	third := c.at(s.Instances[1]).refresh(second.refresh).tokens(t)
	for _, i := range s.Instances {
		if a := c.at(i).call(third.access); a.status != http.StatusOK {
			t.Fatalf("before the reuse: %d %s", a.status, a.body)
		}
	}

	time.Sleep(4 * time.Second) // the grace, by the clocks of the processes
	if a := c.at(s.Instances[2]).refresh(first.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Fatalf("the reuse got %d %s", a.status, a.body)
	}
	for _, i := range s.Instances {
		for name, token := range map[string]string{"first": first.refresh, "second": second.refresh, "third": third.refresh} {
			if a := c.at(i).refresh(token); !a.is(http.StatusBadRequest, "invalid_grant") {
				t.Errorf("after the reuse the %s refresh token got %d %s", name, a.status, a.body)
			}
		}
	}
	refusedEverywhere(t, s, c, third.access)
	if !strings.Contains(s.Instances[2].Log(), "refresh token reuse") {
		t.Error("the log does not say why the grant ended")
	}
}
