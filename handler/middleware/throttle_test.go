package middleware

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/observe"
	"entramcp/handler/ratelimit"
)

// newThrottle has budgets of 2 for an address and 5 for the instance, which do not
// fill up again.
func newThrottle(hold time.Duration) *Throttle {
	s := NewThrottle(ThrottleOptions{})
	s.requests = ratelimit.New(ratelimit.Limit{PerSecond: 1, Burst: 2}, ratelimit.Limit{PerSecond: 1, Burst: 5}, clocktest.New().Now)
	s.holdTime = hold
	return s
}

var served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// ask sends r from address through h.
func ask(h http.Handler, r *http.Request, address string) *httptest.ResponseRecorder {
	r.RemoteAddr = address + ":1234"
	w := httptest.NewRecorder()
	observe.Correlate(slog.New(slog.DiscardHandler), observe.CorrelateOptions{}, h).ServeHTTP(w, r)
	return w
}

func post() *http.Request { return httptest.NewRequest("POST", "/register", nil) }

func TestWhoAsksTooMuchIsHeldAndRefusedAndOthersAreNot(t *testing.T) {
	const hold = 50 * time.Millisecond
	s := newThrottle(hold)
	h := s.Limit(served)
	for n := range 2 {
		if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusNoContent {
			t.Fatalf("request %d: %d", n, w.Code)
		}
	}
	began := time.Now()
	w := ask(h, post(), "192.0.2.1")
	if took := time.Since(began); took < hold {
		t.Errorf("refused after %s", took)
	}
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" ||
		!strings.Contains(w.Body.String(), `"error":"temporarily_unavailable"`) || s.Refused() != 1 {
		t.Errorf("got %d %v %s, %d counted", w.Code, w.Header(), w.Body, s.Refused())
	}
	if w := ask(h, post(), "198.51.100.1"); w.Code != http.StatusNoContent {
		t.Errorf("another address: %d", w.Code)
	}
	page := httptest.NewRequest("GET", "/authorize", nil)
	page.Header.Set("Accept", "text/html,*/*")
	if w := ask(h, page, "192.0.2.1"); w.Code != http.StatusTooManyRequests || !strings.Contains(w.Body.String(), "<h1>Too many requests</h1>") ||
		w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("a browser gets %d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestTheInstanceIsLimitedForAllStrangersTogether(t *testing.T) {
	h := newThrottle(time.Millisecond).Limit(served)
	admitted := 0
	for _, network := range []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "10.1.1.1", "10.1.2.1", "10.1.3.1", "10.1.4.1"} {
		if ask(h, post(), network).Code == http.StatusNoContent {
			admitted++
		}
	}
	if admitted != 5 {
		t.Errorf("%d of 7 networks are served, the budget is 5", admitted)
	}
}

func TestWhoIsHeldIsServedOnceThereIsBudget(t *testing.T) {
	s := newThrottle(time.Millisecond)
	clock := clocktest.New()
	s.requests = ratelimit.New(ratelimit.Limit{PerSecond: 1, Burst: 1}, ratelimit.Limit{PerSecond: 100, Burst: 100}, clock.Now)
	h := s.Limit(served)
	ask(h, post(), "192.0.2.1")
	s.holdTime = 100 * time.Millisecond
	time.AfterFunc(20*time.Millisecond, func() { clock.Advance(2 * time.Second) })
	if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusNoContent {
		t.Errorf("got %d", w.Code)
	}
}

func TestWhatIsServedToSomebodyKnownDoesNotCount(t *testing.T) {
	status := http.StatusOK
	h := newThrottle(time.Millisecond).LimitUnlessServed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	for n := range 20 {
		if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusOK {
			t.Fatalf("request %d that is served: %d", n, w.Code)
		}
	}
	status = http.StatusBadRequest
	refused := 0
	for range 5 {
		if w := ask(h, post(), "192.0.2.1"); w.Code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of 5 that are not served are limited, want 3", refused)
	}
}

func TestProbesAreSlowedAndAnswered(t *testing.T) {
	const hold = 50 * time.Millisecond
	h := newThrottle(hold).Slow(served)
	for n := range 4 {
		began := time.Now()
		w := ask(h, httptest.NewRequest("GET", "/readyz", nil), "192.0.2.1")
		if took := time.Since(began); w.Code != http.StatusNoContent || (took >= hold) != (n >= 2) {
			t.Errorf("probe %d: %d after %s", n, w.Code, took)
		}
	}
}

func TestMoreThanCanBeHeldIsRefusedAtOnce(t *testing.T) {
	s := newThrottle(time.Hour)
	s.heldMost = 1
	h := s.Limit(served)
	for range 2 {
		ask(h, post(), "192.0.2.1")
	}
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ask(h, post().WithContext(ctx), "192.0.2.1") })
	clocktest.Eventually(t, "one is held", 10*time.Second, func() bool { return s.held.Load() > 0 })
	if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusTooManyRequests || w.Header().Get("Connection") != "close" || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if w := ask(s.Slow(served), post(), "192.0.2.1"); w.Code != http.StatusNoContent {
		t.Errorf("a probe: %d", w.Code)
	}
	s.options.Hosted = true
	if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusTooManyRequests || w.Header().Get("Connection") != "" {
		t.Errorf("behind the host: %d %v", w.Code, w.Header())
	}
	leave() // who leaves is not held
	wg.Wait()
	if held := s.held.Load(); held != 0 {
		t.Errorf("%d are held", held)
	}
}

// TestAHostedClientsUsersComeBackAtOnce: a thousand of them from one address within
// ten seconds, each with an access token that has expired.
func TestAHostedClientsUsersComeBackAtOnce(t *testing.T) {
	clock := clocktest.New()
	s := NewThrottle(ThrottleOptions{Hosted: true})
	s.requests = ratelimit.New(throttleAddress, throttleInstance, clock.Now)
	s.holdTime = time.Millisecond
	h := s.Limit(served)
	come := func(users int) {
		t.Helper()
		for user := range users {
			if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusNoContent {
				t.Fatalf("user %d of %d: %d", user, users, w.Code)
			}
		}
	}
	come(800)
	for range 10 {
		clock.Advance(time.Second)
		come(20)
	}
}

// TestAFloodTakesFewOfThePlacesOfTheHost: what is held counts to the platform as
// being served, of which an instance has a hundred by default.
func TestAFloodTakesFewOfThePlacesOfTheHost(t *testing.T) {
	s := NewThrottle(ThrottleOptions{Address: ratelimit.Limit{PerSecond: 0.001, Burst: 1}, Hosted: true})
	s.holdTime = time.Hour
	h := s.Limit(served)
	ask(h, post(), "192.0.2.1")
	ctx, leave := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	for range 200 {
		flood.Go(func() { ask(h, post().WithContext(ctx), "192.0.2.1") })
	}
	clocktest.Eventually(t, "all are held or refused", 10*time.Second, func() bool {
		return s.Refused() >= 200-heldMostHosted || s.held.Load() > 2*heldMostHosted
	})
	if held := s.held.Load(); held != heldMostHosted {
		t.Errorf("%d are held", held)
	}
	leave()
	flood.Wait()
}

// TestABrowsersClientReadsWhyItIsRefused: in Azure the platform sees to that, and
// twice is an error to browsers.
func TestABrowsersClientReadsWhyItIsRefused(t *testing.T) {
	for inAzure, want := range map[bool]string{false: "*", true: ""} {
		s := newThrottle(time.Millisecond)
		s.options.InAzure = inAzure
		h := s.Limit(served)
		for range 2 {
			ask(h, post(), "192.0.2.1")
		}
		if w := ask(h, post(), "192.0.2.1"); w.Code != http.StatusTooManyRequests || w.Header().Get("Access-Control-Allow-Origin") != want {
			t.Errorf("in Azure %v: %d %v", inAzure, w.Code, w.Header())
		}
	}
}
