package resilience

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/e2e/stack/faultproxy"
)

// TestTenantOutage: while Entra does not answer, nobody is signed out, and
// whatever does not need it is served.
func TestTenantOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*faultproxy.Proxy, *tenant.Tenant){
		"requests are reset":    func(n *faultproxy.Proxy, _ *tenant.Tenant) { n.Set(faultproxy.ResetRequests) },
		"answers are reset":     func(n *faultproxy.Proxy, _ *tenant.Tenant) { n.Set(faultproxy.ResetAnswers) },
		"it stalls":             func(n *faultproxy.Proxy, _ *tenant.Tenant) { n.Set(faultproxy.Stall) },
		"it answers 503":        func(_ *faultproxy.Proxy, entra *tenant.Tenant) { entra.Outage(true) },
		"it throttles with 429": func(_ *faultproxy.Proxy, entra *tenant.Tenant) { entra.Throttle(10, 7*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wire *faultproxy.Proxy
			s := stack.Start(t, stack.Options{Instances: 1, Env: map[string]string{"TIMEOUT_SECONDS": timeout}, Via: func(listens string) string {
				wire = faultproxy.Start(t, listens)
				return "http://" + wire.Address
			}})
			u := begin(t, s)
			fault(wire, s.Tenant)
			u.duringTenantOutage(t)
			if strings.Contains(name, "429") {
				if a := u.refresh(u.used.refresh); a.header.Get("Retry-After") != "7" {
					t.Errorf("Entra's Retry-After of 7 is passed on as %q", a.header.Get("Retry-After"))
				}
			}
			wire.Set(faultproxy.None)
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
