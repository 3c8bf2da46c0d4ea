package middleware

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func admission(share float64) *Admission {
	a := &Admission{delays: func() float64 { return 0 }, log: slog.New(slog.DiscardHandler)}
	a.looking.Store(true) // the share is the test's
	a.share.Store(math.Float64bits(share))
	return a
}

var served = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func TestTheShareThatIsTooMuchIsRefusedAndTheRestServed(t *testing.T) {
	const n = 4000
	for _, share := range []float64{0, 0.25, 0.75, shareMost} {
		var log bytes.Buffer
		a := admission(share)
		a.log = slog.New(slog.NewTextHandler(&log, nil))
		h := a.Limit(served, "/healthz")
		refused := 0
		for range n {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
			if w.Code == http.StatusServiceUnavailable {
				refused++
				if w.Header().Get("Retry-After") == "" || w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Body.String(), "temporarily_unavailable") {
					t.Fatalf("got %v %s", w.Header(), w.Body)
				}
			}
			w = httptest.NewRecorder()
			if h.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil)); w.Code != http.StatusNoContent {
				t.Fatalf("health: %d", w.Code)
			}
		}
		if got := float64(refused) / n; math.Abs(got-share) > 0.05 || a.Refused() != int64(refused) {
			t.Errorf("share %.2f: %.2f were refused, %d counted", share, got, a.Refused())
		}
		if lines := strings.Count(log.String(), "\n"); lines != min(refused, 1) {
			t.Errorf("%d lines about %d refusals", lines, refused)
		}
	}
}

// TestTheShareFollowsTheLoad: with four times the load, three of four requests
// are refused soon, and none once it is over.
func TestTheShareFollowsTheLoad(t *testing.T) {
	a := admission(0)
	step := func(load float64) {
		// What is beyond the capacity of 1 waits, and so a part of the rest.
		a.adapt(min(max(0, load*(1-a.refusing())-1), 1) / 2)
	}
	for range 200 { // ten seconds
		step(4)
	}
	if share := a.refusing(); share < 0.6 || share > 0.8 {
		t.Errorf("at four times the load, %.2f are refused", share)
	}
	for range 100 {
		step(0.5)
	}
	if share := a.refusing(); share != 0 {
		t.Errorf("after the load, %.2f are refused", share)
	}
	for range 1000 {
		a.adapt(1)
	}
	if share := a.refusing(); share != shareMost {
		t.Errorf("%.2f are refused; some must get through for the end to be seen", share)
	}
}

func TestARefusalIsHeldBackButNotFromWhoLeaves(t *testing.T) {
	a := admission(1)
	a.refuseAfter = 50 * time.Millisecond
	began := time.Now()
	a.Limit(served).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/mcp", nil))
	if took := time.Since(began); took < a.refuseAfter {
		t.Errorf("refused after %s", took)
	}
	a.refuseAfter = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Limit(served).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/mcp", nil).WithContext(ctx))
}

func TestTheProcessorsAreLookedAtWhileThereAreRequests(t *testing.T) {
	looked := make(chan struct{})
	a := admission(0)
	a.looking.Store(false)
	calls := 0
	a.delays = func() float64 {
		if calls++; calls > 2 {
			return 0 // so that it ends by itself
		}
		looked <- struct{}{}
		return 1
	}
	h := a.Limit(served)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/mcp", nil))
	for range 2 {
		<-looked
	}
	if a.refusing() == 0 {
		t.Error("delays are seen and nothing is refused")
	}
}

// TestBusyProcessorsAreSeen: many more goroutines that run than processors, and
// not goroutines that wait.
func TestBusyProcessorsAreSeen(t *testing.T) {
	d := &schedulerDelays{most: 5 * time.Millisecond}
	d.late()
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 128 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				for x := range 500_000 {
					_ = x * x
				}
				runtime.Gosched()
			}
		})
	}
	seen := 0.0
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		if seen = d.late(); seen > lateMost {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if seen <= lateMost {
		t.Errorf("late is %.2f", seen)
	}
	d.late()
	time.Sleep(50 * time.Millisecond)
	if idle := d.late(); idle > 0.5 {
		t.Errorf("idle, late is %.2f", idle)
	}
}
