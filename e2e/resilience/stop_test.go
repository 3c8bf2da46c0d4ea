//go:build unix

package resilience

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// TestSIGTERMCutsNothingThatIsUnderWay: an instance is told to stop while it holds
// 144 refreshes of 12 users and 50 calls, all of which wait for Entra or Graph.
// /readyz says no while it still listens, every request gets its answer, the process
// ends by itself, and the other instance goes on with what the first one gave.
func TestSIGTERMCutsNothingThatIsUnderWay(t *testing.T) {
	const users, each, calls = 12, 12, 50
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	var hold atomic.Bool
	s := stack.Start(t, stack.Options{Instances: 2, Between: func(tenant http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hold.Load() {
				<-held
			}
			tenant.ServeHTTP(w, r)
		})
	}})
	if err := s.Tenant.GrantConsent(stack.Alice, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	stopped, other := s.Instances[0], s.Instances[1]
	app := newClient(t, s).registered("none")
	signIns := make([]tokens, users)
	for k := range signIns {
		signIns[k] = app.redeem(app.signIn()).tokens(t)
	}

	hold.Store(true)
	var sent, answered sync.WaitGroup
	sent.Add(users*each + calls)
	there := app.at(stopped)
	there.HTTP.Transport = reporting{there.HTTP.Transport, sent.Done}
	refreshed := make([]answer, users*each)
	for k := range refreshed {
		answered.Go(func() { refreshed[k] = there.refresh(signIns[k%users].refresh) })
	}
	called := make([]answer, calls)
	for k := range called {
		answered.Go(func() { called[k] = there.tool(signIns[k%users].access, "identity", `{}`) })
	}
	sent.Wait()

	stopped.Terminate()
	clocktest.Eventually(t, "/readyz says no before the instance stops listening", 5*time.Second, func() bool {
		return app.at(stopped).get("/readyz").status == http.StatusServiceUnavailable
	})
	if !stopped.Alive() {
		t.Fatal("the process ended with requests under way")
	}
	release()
	answered.Wait()
	for k, a := range refreshed {
		if a.status != http.StatusOK {
			t.Errorf("refresh %d: %d %s", k, a.status, a.body)
		}
	}
	for k, a := range called {
		if a.status != http.StatusOK || !strings.Contains(a.body, "alice@") {
			t.Errorf("call %d: %d %s", k, a.status, a.body)
		}
	}
	if status := stopped.Status(); status != 0 {
		t.Errorf("the process ended with status %d", status)
	}
	for k, a := range refreshed[:users] {
		got := a.tokens(t)
		if a := app.at(other).call(got.access); a.status != http.StatusOK {
			t.Errorf("user %d calls the other instance: %d %s", k, a.status, a.body)
		}
		if a := app.at(other).refresh(got.refresh); a.status != http.StatusOK {
			t.Errorf("user %d refreshes at the other instance: %d %s", k, a.status, a.body)
		}
	}
}

// reporting says when a request has been written to its connection.
type reporting struct {
	http.RoundTripper
	written func()
}

func (r reporting) RoundTrip(req *http.Request) (*http.Response, error) {
	once := sync.OnceFunc(r.written)
	return r.RoundTripper.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { once() },
	})))
}
