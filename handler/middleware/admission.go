package middleware

import (
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// What an instance does at once. Work that waits for others, such as Entra or a
// tool's own calls, holds no place for longer than young.
const (
	// placesEach is how many requests each processor works on: enough to use
	// all of it while some wait for storage, and few enough that one that is
	// admitted is answered in a fraction of a second.
	placesEach = 64
	// young is how long a request holds a place at most.
	young = 250 * time.Millisecond
	// queueLength is how many may wait for a place, and queueTime for how long.
	queueLength = 1024
	queueTime   = 250 * time.Millisecond
	// busyLine is the least time between two log lines about it.
	busyLine = 10 * time.Second
)

// Admission bounds what is worked on at once. Under a load that the instance
// cannot serve, it serves as much as without, each request soon, and answers the
// rest with 503 and Retry-After. Who came last is served first: who has waited
// long has given up the soonest.
type Admission struct {
	places, queue int
	young, wait   time.Duration
	log           *slog.Logger

	mu      sync.Mutex
	started [8]cohort // in-flight requests by when they started
	waiting []*waiter // the last one is next
	refused int64
	said    time.Time
}

// cohort counts the requests in flight that started in one eighth of young.
type cohort struct {
	period int64
	n      int
}

// place is what a request holds: its cohort.
type place struct{ period int64 }

type waiter struct {
	admitted chan place // of length 1
	gone     bool
}

// NewAdmission makes the Admission of this instance.
func NewAdmission(log *slog.Logger) *Admission {
	return &Admission{places: placesEach * runtime.GOMAXPROCS(0), queue: queueLength, young: young, wait: queueTime, log: log}
}

// Limit admits requests to next; those for the paths of except always.
func (a *Admission) Limit(next http.Handler, except ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(except, r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		p, ok := a.enter(r)
		if !ok {
			a.refuse(w, r)
			return
		}
		defer a.leave(p)
		next.ServeHTTP(w, r)
	})
}

var busy = []byte(`{"error":"temporarily_unavailable","error_description":"The server is busy. Try again."}` + "\n")

// refuse costs as little as it can.
func (a *Admission) refuse(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(busy)
	a.mu.Lock()
	a.refused++
	refused, now := a.refused, time.Now()
	say := now.Sub(a.said) >= busyLine
	if say {
		a.said = now
	}
	a.mu.Unlock()
	if say {
		a.log.WarnContext(r.Context(), "overloaded", "refused_so_far", refused)
	}
}

// Refused is how many requests were refused so far.
func (a *Admission) Refused() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// enter takes a place, at once or within the wait.
func (a *Admission) enter(r *http.Request) (place, bool) {
	a.mu.Lock()
	if len(a.waiting) == 0 && a.free() {
		p := a.take()
		a.mu.Unlock()
		return p, true
	}
	if len(a.waiting) >= a.queue {
		a.mu.Unlock()
		return place{}, false
	}
	me := &waiter{admitted: make(chan place, 1)}
	a.waiting = append(a.waiting, me)
	if len(a.waiting) == 1 {
		go a.age()
	}
	a.mu.Unlock()

	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	select {
	case p := <-me.admitted:
		return p, true
	case <-timer.C:
	case <-r.Context().Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case p := <-me.admitted: // at the same moment
		return p, true
	default:
	}
	me.gone = true
	return place{}, false
}

func (a *Admission) leave(p place) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := &a.started[p.period%int64(len(a.started))]; c.period == p.period {
		c.n--
	}
	a.admit()
}

// age admits waiters as requests grow out of their places, until nobody waits.
func (a *Admission) age() {
	tick := time.NewTicker(a.young / time.Duration(len(a.started)))
	defer tick.Stop()
	for range tick.C {
		a.mu.Lock()
		a.admit()
		idle := len(a.waiting) == 0
		a.mu.Unlock()
		if idle {
			return
		}
	}
}

// admit gives the free places to those who wait. The lock is held.
func (a *Admission) admit() {
	for len(a.waiting) > 0 {
		last := len(a.waiting) - 1
		next := a.waiting[last]
		if !next.gone && !a.free() {
			break
		}
		a.waiting[last] = nil
		a.waiting = a.waiting[:last]
		if !next.gone {
			next.admitted <- a.take()
		}
	}
	// Those who gave up are at the front: they came first.
	for len(a.waiting) > 0 && a.waiting[0].gone {
		a.waiting = a.waiting[1:]
	}
}

func (a *Admission) period() int64 {
	return time.Now().UnixNano() / int64(a.young/time.Duration(len(a.started)))
}

// free reports whether fewer requests than there are places started within
// young and are in flight. The lock is held.
func (a *Admission) free() bool {
	oldest, n := a.period()-int64(len(a.started)), 0
	for _, c := range a.started {
		if c.period > oldest {
			n += c.n
		}
	}
	return n < a.places
}

// take holds a place. The lock is held.
func (a *Admission) take() place {
	period := a.period()
	c := &a.started[period%int64(len(a.started))]
	if c.period != period {
		*c = cohort{period: period}
	}
	c.n++
	return place{period}
}
