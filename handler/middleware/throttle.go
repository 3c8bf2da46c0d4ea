package middleware

import (
	"cmp"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/ratelimit"
)

const (
	// holdTime is how long a request is held that comes while its sender's
	// budget is used up. Who waits for one answer before the next request is
	// slowed down to two a second and connection, whatever an answer costs.
	holdTime = 500 * time.Millisecond
	// heldMost is how many requests may be held at a time. What comes beyond
	// is refused at once, and its connection closed.
	heldMost = 4096
	// heldMostHosted is that behind the Functions host. To the platform a
	// request that is held is one that is served: it counts towards those that
	// an instance serves at a time (requestsPerInstance of the template), and
	// callers would wait behind it, or another instance be started and paid for.
	heldMostHosted = 20
)

// Requests of one address, and of all together, that prove nothing. A sign-in
// has eight to ten of them: people behind one address can sign in five times a
// second, eighty times at once, and all together forty times a second. A client
// whose access token has expired sends one before it refreshes: a hosted client
// with a thousand users who all come back within ten seconds sends 800 and 20 a
// second more, and is within the budget. One network has at most half of the
// instance's at once, which is why that is twice as much.
var (
	throttleAddress  = ratelimit.Limit{PerSecond: 50, Burst: 800}
	throttleInstance = ratelimit.Limit{PerSecond: 400, Burst: 1600}
)

// Throttle slows down those who send many requests without an access token that
// is valid, so that callers who have one keep the processors. Such a request
// takes one from the budgets of its address and of the instance. If they are
// used up it is held, and then tries again. The sender is the one that
// [observe.Correlate] found.
type Throttle struct {
	options  ThrottleOptions
	requests *ratelimit.Limiter
	holdTime time.Duration
	heldMost int64
	held     atomic.Int64
	refused  atomic.Int64
}

// ThrottleOptions are what NewThrottle needs.
type ThrottleOptions struct {
	// Address is the budget of one address, the default if zero.
	Address ratelimit.Limit
	// Hosted says that the Functions host is in front.
	Hosted bool
	// InAzure leaves Access-Control-Allow-Origin to the platform.
	InAzure bool
}

// NewThrottle makes the Throttle of this instance.
func NewThrottle(o ThrottleOptions) *Throttle {
	t := &Throttle{
		options:  o,
		requests: ratelimit.New(cmp.Or(o.Address, throttleAddress), throttleInstance, time.Now),
		holdTime: holdTime, heldMost: heldMost,
	}
	if o.Hosted {
		t.heldMost = heldMostHosted
	}
	return t
}

// Limit lets requests to next within the budgets, and answers the others.
func (t *Throttle) Limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.Admit(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// LimitUnlessServed is Limit for what only somebody known is served: a request
// that next answers with 200 does not count.
func (t *Throttle) LimitUnlessServed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !t.Admit(w, r) {
			return
		}
		seen := &servedWriter{ResponseWriter: w}
		next.ServeHTTP(seen, r)
		if seen.served {
			t.requests.Return(observe.ClientKey(r.Context()))
		}
	})
}

// Slow holds requests beyond the budgets, and then lets them to next all the
// same: for answers that cost little, and that whoever watches over the server
// must get.
func (t *Throttle) Slow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t.requests.Take(observe.ClientKey(r.Context())) > 0 {
			t.hold(r)
		}
		next.ServeHTTP(w, r)
	})
}

// Admit takes one request of r's sender from the budgets, and reports whether
// there was one to take. If not, it has answered with 429.
func (t *Throttle) Admit(w http.ResponseWriter, r *http.Request) bool {
	client := observe.ClientKey(r.Context())
	if t.requests.Take(client) == 0 {
		return true
	}
	if !t.hold(r) {
		if !t.options.Hosted { // else the connection is the host's, which opens another
			w.Header().Set("Connection", "close")
		}
		t.refuse(w, r, holdTime)
		return false
	}
	wait := t.requests.Take(client)
	if wait > 0 {
		t.refuse(w, r, wait)
	}
	return wait == 0
}

// Refused is how many requests were refused so far.
func (t *Throttle) Refused() int64 { return t.refused.Load() }

// hold returns after the time of holding, or with false at once if enough are held.
func (t *Throttle) hold(r *http.Request) bool {
	defer t.held.Add(-1)
	if t.held.Add(1) > t.heldMost {
		return false
	}
	timer := time.NewTimer(t.holdTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	return true
}

const tooManyJSON = `{"error":"temporarily_unavailable","error_description":"Too many requests from this address or in total. Try again later."}` + "\n"

var tooManyHTML = pages.Plain(pages.TooManyRequests)

// refuse has nothing made for the request: it is the answer to a flood.
func (t *Throttle) refuse(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	t.refused.Add(1)
	h := w.Header()
	refusalHeaders(h, wait, t.options.InAzure)
	body := tooManyJSON
	if r.Method == http.MethodGet && pages.Accepted(r.Header.Values("Accept"), "text/html") {
		body = tooManyHTML
		h.Set("Content-Type", "text/html; charset=utf-8")
	} else {
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, body)
}

// refusalHeaders are those of a refusal for wait, whatever its body. A client in a
// browser may read it, too: it is the same for all.
func refusalHeaders(h http.Header, wait time.Duration, inAzure bool) {
	h.Set("Cache-Control", "no-store")
	oauth.SetRetryAfter(h, wait)
	if !inAzure && h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "Retry-After")
	}
}

// servedWriter sees whether the status is 200.
type servedWriter struct {
	http.ResponseWriter
	served bool
}

func (w *servedWriter) WriteHeader(status int) {
	w.served = status == http.StatusOK
	w.ResponseWriter.WriteHeader(status)
}

func (w *servedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
