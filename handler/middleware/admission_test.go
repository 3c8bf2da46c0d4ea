package middleware

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func admission(places, queue int) *Admission {
	return &Admission{places: places, queue: queue, young: time.Hour, wait: 50 * time.Millisecond, log: slog.New(slog.DiscardHandler)}
}

func TestWhatIsTooMuchIsRefusedSoonAndTheRestServed(t *testing.T) {
	const places, queue, more = 8, 4, 20
	a := admission(places, queue)
	release := make(chan struct{})
	var inside, most atomic.Int64
	h := a.Limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		inside.Add(-1)
	}))
	var wg sync.WaitGroup
	answers := make(chan *httptest.ResponseRecorder, places+queue+more)
	ask := func() {
		wg.Go(func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
			answers <- w
		})
	}
	for range places {
		ask()
	}
	for inside.Load() < places {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	for range queue + more {
		ask()
	}
	for range queue + more {
		w := <-answers
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("got %d %v", w.Code, w.Header())
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the refusals took %s", took)
	}
	close(release)
	wg.Wait()
	for range places {
		if w := <-answers; w.Code != http.StatusOK {
			t.Errorf("who was admitted got %d", w.Code)
		}
	}
	if most.Load() != places || a.Refused() != queue+more {
		t.Errorf("%d at once, %d refused", most.Load(), a.Refused())
	}
	// And all places are free again.
	w := httptest.NewRecorder()
	a.Limit(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestWhoWaitsIsServedWhenAPlaceIsFree(t *testing.T) {
	a := admission(1, 10)
	a.wait = 10 * time.Second
	first, _ := a.enter(httptest.NewRequest("POST", "/", nil))
	order := make(chan int, 3)
	for i := range 3 {
		go func() {
			p, ok := a.enter(httptest.NewRequest("POST", "/", nil))
			if !ok {
				t.Errorf("request %d is refused", i)
			}
			order <- i
			a.leave(p)
		}()
		for { // each after the one before
			a.mu.Lock()
			n := len(a.waiting)
			a.mu.Unlock()
			if n == i+1 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	a.leave(first)
	if got := [3]int{<-order, <-order, <-order}; got != [3]int{2, 1, 0} {
		t.Errorf("served in the order %v, want the last first", got)
	}
}

// TestWorkThatWaitsHoldsNoPlace: calls that wait for others, such as tools that
// take minutes, do not shut the rest out.
func TestWorkThatWaitsHoldsNoPlace(t *testing.T) {
	a := admission(4, 10)
	a.young, a.wait = 80*time.Millisecond, 10*time.Second
	release := make(chan struct{})
	defer close(release)
	long := a.Limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	for range 4 {
		go long.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/mcp", nil))
	}
	for range 20 {
		w := httptest.NewRecorder()
		a.Limit(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
		if w.Code != http.StatusNotFound {
			t.Fatalf("got %d", w.Code)
		}
	}
}

func TestAClientThatLeavesTheQueueTakesNoPlace(t *testing.T) {
	a := admission(1, 10)
	a.wait = time.Millisecond
	p, _ := a.enter(httptest.NewRequest("POST", "/", nil))
	for range 5 {
		if _, ok := a.enter(httptest.NewRequest("POST", "/", nil)); ok {
			t.Fatal("admitted beyond the places")
		}
	}
	a.leave(p)
	if p, ok := a.enter(httptest.NewRequest("POST", "/", nil)); !ok || len(a.waiting) != 0 {
		t.Errorf("admitted %v, %d wait", ok, len(a.waiting))
	} else {
		a.leave(p)
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := NewAdmission(slog.New(slog.DiscardHandler))
	r := httptest.NewRequest("POST", "/mcp", nil)
	b.ReportAllocs()
	for b.Loop() {
		p, _ := a.enter(r)
		a.leave(p)
	}
}
