package middleware

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How an overload is seen and answered.
const (
	// delayMost is how long a request may wait for a processor. While more of the
	// goroutines that could run wait longer than lateMost, a growing share of the
	// requests is refused. Each request is one that waits in the queue, and a few
	// that do not.
	delayMost = 100 * time.Millisecond
	lateMost  = 0.05
	// sampleEvery is how often that is looked at, and the share is changed by
	// gain times what is too much or too little, up to shareMost.
	sampleEvery = 50 * time.Millisecond
	gain        = 0.25
	shareMost   = 0.95
	// refuseAfter is how long a refusal is held back: clients that ask again at
	// once would use what is saved by refusing. heldMost may be held at a time.
	refuseAfter = 500 * time.Millisecond
	heldMost    = 4096
	// busyLine is the least time between two log lines about it.
	busyLine = 10 * time.Second
)

// Admission refuses requests while the processors cannot keep up, so that under
// a load which the instance cannot serve it serves as much as without, each
// request soon, and answers the rest with 503 and Retry-After.
//
// What waits for a processor waits in the runtime's queue, before any of our code
// runs, so that the number of requests being worked on says nothing; the runtime
// counts the delays. Requests that wait for storage, Entra or a tool are no
// overload.
type Admission struct {
	delays      func() (late float64)
	refuseAfter time.Duration
	log         *slog.Logger

	share   atomic.Uint64 // of requests to refuse: the bits of a float64
	held    atomic.Int64
	refused atomic.Int64
	lastUse atomic.Int64 // the sample in which a request came last
	sample  atomic.Int64
	looking atomic.Bool

	mu   sync.Mutex
	said time.Time
}

// NewAdmission makes the Admission of this instance.
func NewAdmission(log *slog.Logger) *Admission {
	return &Admission{delays: (&schedulerDelays{most: delayMost}).late, refuseAfter: refuseAfter, log: log}
}

// Limit admits requests to next; those for the paths of except always.
func (a *Admission) Limit(next http.Handler, except ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.used()
		if share := a.refusing(); share > 0 && rand.Float64() < share && !slices.Contains(except, r.URL.Path) {
			a.refuse(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Refused is how many requests were refused so far.
func (a *Admission) Refused() int64 { return a.refused.Load() }

var busy = []byte(`{"error":"temporarily_unavailable","error_description":"The server is busy. Try again."}` + "\n")

// refuse costs as little as it can.
func (a *Admission) refuse(w http.ResponseWriter, r *http.Request) {
	if a.held.Add(1) <= heldMost {
		timer := time.NewTimer(a.refuseAfter)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
		}
	}
	a.held.Add(-1)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(busy)
	refused := a.refused.Add(1)
	if a.mayLog() {
		a.log.WarnContext(r.Context(), "overloaded", "refused_so_far", refused)
	}
}

func (a *Admission) mayLog() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.said) < busyLine {
		return false
	}
	a.said = now
	return true
}

// used keeps the processors looked at while there are requests.
func (a *Admission) used() {
	if now := a.sample.Load(); a.lastUse.Load() != now {
		a.lastUse.Store(now)
	}
	if !a.looking.Load() && a.looking.CompareAndSwap(false, true) {
		go a.look()
	}
}

// look adapts the share until there were no requests for a while.
func (a *Admission) look() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for range tick.C {
		a.adapt(a.delays())
		if a.sample.Add(1)-a.lastUse.Load() > 40 && a.refusing() == 0 {
			a.looking.Store(false)
			return
		}
	}
}

func (a *Admission) refusing() float64 { return math.Float64frombits(a.share.Load()) }

func (a *Admission) adapt(late float64) {
	share := a.refusing() + gain*(late-lateMost)
	a.share.Store(math.Float64bits(min(max(share, 0), shareMost)))
}

// schedulerDelays reads how long goroutines that could run had to wait for a
// processor, which the runtime counts.
type schedulerDelays struct {
	most   time.Duration
	before []uint64
}

// late is the share of those that waited longer than most, since it was last
// asked.
func (d *schedulerDelays) late() float64 {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	h := sample[0].Value.Float64Histogram()
	var all, late uint64
	for i, n := range h.Counts {
		if d.before != nil {
			n -= d.before[i]
		}
		all += n
		if h.Buckets[i] >= d.most.Seconds() {
			late += n
		}
	}
	first := d.before == nil
	d.before = append(d.before[:0], h.Counts...)
	if first || all == 0 {
		return 0
	}
	return float64(late) / float64(all)
}
