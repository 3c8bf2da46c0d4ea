package resilience

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// TestCallsBeyondWhatTheProcessorsServeAreRefused: hundreds of calls that compute are
// sent at once, again and again. Some are served and some refused with 503 and a time
// to come again, and meanwhile everything else is served. When it is over, calls are.
func TestCallsBeyondWhatTheProcessorsServeAreRefused(t *testing.T) {
	const together = 1000
	s := stack.Start(t, stack.Options{Instances: 1})
	c, tokens := signedIn(t, s)
	c = c.at(s.Instances[0])
	c.HTTP.Timeout = 2 * time.Minute
	c.HTTP.Transport.(*http.Transport).DisableKeepAlives = false
	c.HTTP.Transport.(*http.Transport).MaxIdleConnsPerHost = together

	var served, refused atomic.Int64
	var calls sync.WaitGroup
	deadline := time.Now().Add(90 * time.Second)
	for range together {
		calls.Go(func() {
			for !t.Failed() && time.Now().Before(deadline) && (served.Load() < 100 || refused.Load() < 100) {
				switch a := c.tool(tokens.access, "compute", `{}`); {
				case a.status == http.StatusOK:
					served.Add(1)
				case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("%d %v %s", a.status, a.header, a.body)
				}
			}
		})
	}
	clocktest.Eventually(t, "ten calls are refused", 90*time.Second, func() bool { return refused.Load() >= 10 })
	for _, path := range []string{"/healthz", "/readyz", "/.well-known/oauth-authorization-server"} {
		if a := c.get(path); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := c.refresh(tokens.refresh); a.status != http.StatusOK {
		t.Errorf("a refresh: %d %s", a.status, a.body)
	}
	calls.Wait()
	if served.Load() < 100 || refused.Load() < 100 {
		t.Fatalf("%d calls were served and %d refused", served.Load(), refused.Load())
	}
	clocktest.Eventually(t, "a call is served when it is over", 30*time.Second, func() bool { return c.call(tokens.access).status == http.StatusOK })
}
