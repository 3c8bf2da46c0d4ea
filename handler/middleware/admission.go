package middleware

import (
	"context"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// waitTarget is how long requests may wait to be read. The share of calls
	// that is refused rises while they wait for longer, and falls while they
	// wait for less.
	waitTarget = 200 * time.Millisecond
	// waitStands is how long the wait must exceed the target before the first
	// call is refused: a pause of the machine is no overload.
	waitStands = 100 * time.Millisecond
	// leastCalls is how many calls come in a second, or are under way, before one
	// is refused: if requests wait while there are fewer, it is the machine that is
	// busy.
	leastCalls = 10
	// measureEvery is how often the wait is measured, and calmEvery while there are
	// too few calls to refuse any.
	measureEvery = 20 * time.Millisecond
	calmEvery    = 200 * time.Millisecond
	// idleAfter is how long after the last call it is no longer measured.
	idleAfter = 10 * time.Second
	// busyRetryAfter is for callers that are refused.
	busyRetryAfter = 2 * time.Second
	// busyLogEvery is the least time between two log lines about it.
	busyLogEvery = 10 * time.Second
)

// Admission refuses a share of the calls while the processors cannot keep up, so
// that the instance goes on to serve as many as it can, and each of them soon. It
// answers the others with 503 and Retry-After, at the cost of reading them.
//
// What waits for a processor waits in the kernel, where nothing that the process
// counts shows it. So Admission measures the wait: a byte of its own waits among
// the requests. Calls that wait for storage, Entra or another service take no
// processor, and no number of them is an overload.
type Admission struct {
	inAzure bool
	log     *slog.Logger
	wake    chan struct{}
	measure func() (waitMeter, error)

	calls    atomic.Int64
	underWay atomic.Int64
	share    atomic.Uint64 // of calls to refuse: the bits of a float64
	refused  atomic.Int64
}

// NewAdmission makes the Admission of this instance. inAzure leaves
// Access-Control-Allow-Origin to the platform.
func NewAdmission(inAzure bool, log *slog.Logger) *Admission {
	return &Admission{inAzure: inAzure, log: log, wake: make(chan struct{}, 1), measure: newWaitProbe}
}

// Limit lets to next all requests but the calls that are refused. It refuses none
// unless Run runs.
func (a *Admission) Limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		a.calls.Add(1)
		select {
		case a.wake <- struct{}{}:
		default:
		}
		if share := a.refusing(); share > 0 && rand.Float64() < share {
			a.refuse(w)
			return
		}
		a.underWay.Add(1)
		defer a.underWay.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// Refused is how many calls were refused so far.
func (a *Admission) Refused() int64 { return a.refused.Load() }

const busyJSON = `{"error":"temporarily_unavailable","error_description":"The server has more calls than it can serve. Try again later."}` + "\n"

// refuse costs as little as it can: it is most of what an overload costs.
func (a *Admission) refuse(w http.ResponseWriter) {
	a.refused.Add(1)
	refusalHeaders(w.Header(), busyRetryAfter, a.inAzure)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, busyJSON)
}

func (a *Admission) refusing() float64 { return math.Float64frombits(a.share.Load()) }

// Run measures the wait while there are calls, until ctx ends. What it needs for
// that it has from the start: in an overload there may be no file descriptor left.
func (a *Admission) Run(ctx context.Context) {
	wait, err := a.measure()
	if err != nil {
		a.log.ErrorContext(ctx, "the wait of requests cannot be measured; no call is refused because of an overload", "cause", err)
		return
	}
	defer wait.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		a.control(ctx, wait)
	}
}

// control adapts the share until no call has come for idleAfter.
func (a *Admission) control(ctx context.Context, wait waitMeter) {
	defer a.share.Store(0)
	var (
		share            shareControl
		rate             = rateOf{before: a.calls.Load()}
		start            = time.Now()
		last, used, said = start, start, start.Add(-busyLogEvery)
		logged           = a.refused.Load()
		tick             = time.NewTicker(measureEvery)
	)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		calls := max(rate.of(a.calls.Load(), now.Sub(last)), float64(a.underWay.Load()))
		a.share.Store(math.Float64bits(share.adapt(wait.measure(now), calls, now.Sub(last))))
		last = now
		if calls < leastCalls {
			tick.Reset(calmEvery)
		} else {
			tick.Reset(measureEvery)
		}
		select {
		case <-a.wake:
			used = now
		default:
		}
		if refused := a.refused.Load(); refused > logged && now.Sub(said) >= busyLogEvery {
			a.log.WarnContext(ctx, "overloaded: calls are refused", "refused", refused-logged, "share", share.share)
			said, logged = now, refused
		}
		if now.Sub(used) > idleAfter && share.share == 0 {
			return
		}
	}
}

// rateOf is the mean rate of something that is counted, over a second or so.
type rateOf struct {
	before int64
	mean   float64
}

func (r *rateOf) of(count int64, since time.Duration) float64 {
	if since <= 0 {
		return r.mean
	}
	weight := 1 - math.Exp(-since.Seconds())
	r.mean += weight * (float64(count-r.before)/since.Seconds() - r.mean)
	r.before = count
	return r.mean
}

// shareControl finds the share of calls to refuse at which requests wait for
// waitTarget, by the proportional and integral terms of PIE (RFC 8033 section
// 4.2).
type shareControl struct {
	share  float64
	before time.Duration // the wait that was measured last
	over   time.Duration // for how long it has exceeded the target
}

const (
	// integral is by how much the share changes in a second while the wait is
	// off the target by as much as the target, and proportional by how much when
	// it has changed by as much.
	integral     = 0.5
	proportional = 0.3
	// fallMost is what counts of a wait that has become shorter, in targets: it is
	// known late, and a share that followed it would make the next wait longer.
	fallMost = 0.7
	// shareMost leaves some calls, by which the end of an overload is seen.
	shareMost = 0.95
)

// adapt returns the share for a wait that was measured, since the last one, and for
// the calls that come in a second or are under way.
func (c *shareControl) adapt(wait time.Duration, calls float64, since time.Duration) float64 {
	if wait > waitTarget {
		c.over += min(since, 2*measureEvery) // the measuring pauses with the machine
	} else {
		c.over = 0
	}
	if c.share > 0 || c.over >= waitStands {
		off, changed := float64(wait-waitTarget)/float64(waitTarget), float64(wait-c.before)/float64(waitTarget)
		c.share += integral*since.Seconds()*min(off, 1) + proportional*min(max(changed, -fallMost), 1)
	}
	c.share = min(max(c.share, 0), shareMost)
	if calls < leastCalls {
		c.share = 0
	}
	c.before = wait
	return c.share
}

// waitMeter tells how long what arrives at the process waits until it is read.
type waitMeter interface {
	measure(now time.Time) time.Duration
	close()
}

// waitProbe is the waitMeter of a real process: the poller of the runtime finds a byte in a pipe in its turn among the requests,
// and the goroutine that reads it waits for a processor as theirs do.
type waitProbe struct {
	out, in *os.File
	start   time.Time
	sent    atomic.Int64 // when the byte under way was written, in ns since start; 0 if none is
	took    atomic.Int64 // how long the last one waited
}

func newWaitProbe() (waitMeter, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &waitProbe{out: out, in: in, start: time.Now()}
	go p.read()
	return p, nil
}

// close ends read, too.
func (p *waitProbe) close() {
	_ = p.in.Close()
	_ = p.out.Close()
}

func (p *waitProbe) read() {
	b := make([]byte, 1)
	for {
		if _, err := p.out.Read(b); err != nil {
			return
		}
		p.took.Store(int64(time.Since(p.start)) - p.sent.Load())
		p.sent.Store(0)
	}
}

// measure is how long the last byte has waited, or the one that still does if it
// is longer. It sends the next one if none is under way.
func (p *waitProbe) measure(now time.Time) time.Duration {
	since := int64(now.Sub(p.start))
	if sent := p.sent.Load(); sent != 0 {
		return time.Duration(max(p.took.Load(), since-sent))
	}
	took := p.took.Load()
	p.sent.Store(since)
	if _, err := p.in.Write([]byte{1}); err != nil {
		p.sent.Store(0)
	}
	return time.Duration(took)
}
