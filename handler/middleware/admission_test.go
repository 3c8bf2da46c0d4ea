package middleware

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/clocktest"
)

// queued is a call in simulated: it waits to be accepted, then to be read, and, if
// it is not refused, for its share of the processor, 10 ms at a time.
type queued struct {
	arrived time.Duration
	probe   bool
	read    bool
	left    time.Duration
}

// simulated is a server with one processor and a queue, on which calls of cost
// arrive at load times what it can serve, until it has been offered them for
// lasting. It returns how many were served, how long those took that came after the
// first seconds, and the share that is refused some seconds after the last has come.
func simulated(load float64, cost, lasting time.Duration) (served int, took []time.Duration, after float64) {
	const refusal = 60 * time.Microsecond
	random := rand.New(rand.NewPCG(1, 2))
	next := func(mean time.Duration) time.Duration { return time.Duration(random.ExpFloat64() * float64(mean)) }
	between := time.Duration(float64(cost) / load)
	var (
		share                            shareControl
		queue                            []queued
		now, sent, waited, arrives, tick time.Duration
		underWay                         bool
		computing                        int // calls under way
	)
	for now < lasting+5*time.Second+20*cost {
		for arrives <= now || tick <= now {
			if arrives <= tick {
				if arrives < lasting {
					queue = append(queue, queued{arrived: arrives})
				}
				arrives += next(between)
				continue
			}
			if !underWay {
				underWay, sent = true, tick
				queue = append(queue, queued{arrived: tick, probe: true})
			}
			wait := waited
			if underWay {
				wait = max(wait, now-sent)
			}
			calls := float64(computing)
			if tick < lasting {
				calls = max(calls, float64(time.Second)/float64(between))
			}
			share.adapt(wait, calls, measureEvery)
			tick += measureEvery
		}
		if len(queue) == 0 {
			now = min(arrives, tick)
			continue
		}
		q := queue[0]
		queue = queue[1:]
		switch {
		case q.probe:
			waited, underWay = now-q.arrived, false
		case !q.read:
			now += refusal / 3
			q.read = true
			queue = append(queue, q)
		case q.left == 0 && random.Float64() < share.share:
			now += refusal
		default:
			if q.left == 0 {
				q.left = cost
				computing++
			}
			slice := min(q.left, 10*time.Millisecond)
			now += slice
			if q.left -= slice; q.left > 0 {
				queue = append(queue, q)
				continue
			}
			computing--
			if now < lasting {
				served++
			}
			if q.arrived > 3*time.Second {
				took = append(took, now-q.arrived)
			}
		}
	}
	return served, took, share.share
}

// TestAnOverloadIsServedAtNearlyTheCapacity: however much more is offered, the
// server is as busy with calls as if no more came than it can serve, and those are
// answered as soon as their cost allows, also where a few in a second are too many.
// When it is over, nothing is refused any more.
func TestAnOverloadIsServedAtNearlyTheCapacity(t *testing.T) {
	for _, cost := range []time.Duration{2 * time.Millisecond, 11 * time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		lasting := max(20*time.Second, 300*cost)
		for _, load := range []float64{1.2, 2, 4, 8} {
			served, took, after := simulated(load, cost, lasting)
			slices.Sort(took)
			capacity := float64(lasting) / float64(cost)
			// Reading and refusing the others is not to be had for nothing.
			possible := min(1, 1-(load-1)*float64(80*time.Microsecond)/float64(cost))
			if kept := float64(served) / capacity; kept < 0.9*possible || kept > 1.01 {
				t.Errorf("%g times what can be served, of %s each: %.0f %% of the capacity is served", load, cost, 100*kept)
			}
			if most, bound := took[len(took)*99/100], max(2*time.Second, 40*cost); load <= 4 && most > bound {
				t.Errorf("%g times what can be served, of %s each: one in a hundred takes %s, which is more than %s", load, cost, most, bound)
			}
			if after != 0 {
				t.Errorf("%g times what can be served, of %s each: %.2f is refused when it is over", load, cost, after)
			}
		}
	}
}

// TestWhatIsNoOverloadRefusesNothing: neither a machine that paused for once, nor
// one that is busy with something else while few calls come, nor a wait that is
// shorter than the target.
func TestWhatIsNoOverloadRefusesNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		waits []time.Duration
		calls float64
		every time.Duration
	}{
		{"a pause of the machine", []time.Duration{time.Millisecond, 5 * time.Second, time.Millisecond}, 1000, 5 * time.Second},
		{"pauses again and again", slices.Repeat([]time.Duration{5 * time.Second, time.Millisecond}, 100), 1000, 5 * time.Second},
		{"few calls", slices.Repeat([]time.Duration{5 * time.Second}, 100), leastCalls - 1, measureEvery},
		{"a wait below the target", slices.Repeat([]time.Duration{waitTarget}, 100), 1000, measureEvery},
	} {
		var share shareControl
		for _, wait := range c.waits {
			if got := share.adapt(wait, c.calls, c.every); got != 0 {
				t.Errorf("%s: %.2f is refused", c.name, got)
				break
			}
		}
	}
}

// standing is a wait that does not change.
type standing time.Duration

func (s standing) measure(time.Time) time.Duration { return time.Duration(s) }
func (standing) close()                            {}

// TestOnlyCallsAreRefused: in an overload calls are answered with 503 and told when
// to come again, browsers may read it, and everything else goes on. It is logged, and
// ends when no calls come.
func TestOnlyCallsAreRefused(t *testing.T) {
	for _, inAzure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			a := NewAdmission(inAzure, slog.New(slog.NewTextHandler(&log, nil)))
			a.measure = func() (waitMeter, error) { return standing(time.Second), nil }
			h := a.Limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
			ask := func(method string) *httptest.ResponseRecorder {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, httptest.NewRequest(method, "/mcp", nil))
				return rec
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { a.Run(ctx); close(ended) }()
			refused := 0
			for range 1000 {
				if rec := ask(http.MethodPost); rec.Code != http.StatusAccepted {
					refused++
					cors, body := rec.Header().Get("Access-Control-Allow-Origin"), rec.Body.String()
					if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") != "2" || (cors == "*") == inAzure ||
						rec.Header().Get("Content-Type") != "application/json" || !strings.HasPrefix(body, `{"error":"temporarily_unavailable"`) {
						t.Fatalf("%d %v %s", rec.Code, rec.Header(), body)
					}
				}
				for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodDelete} {
					if rec := ask(method); rec.Code != http.StatusAccepted {
						t.Fatalf("%s: %d", method, rec.Code)
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
			if refused < 700 || refused > 965 || a.Refused() != int64(refused) {
				t.Errorf("%d calls of 1000 were refused; %d are counted", refused, a.Refused())
			}
			time.Sleep(time.Minute)
			if rec := ask(http.MethodPost); rec.Code != http.StatusAccepted {
				t.Errorf("a minute later: %d", rec.Code)
			}
			stop()
			<-ended
			if lines := strings.Count(log.String(), "overloaded"); lines < 1 || lines > 2 {
				t.Errorf("%d log lines for ten seconds: %s", lines, &log)
			}
		})
	}
}

// TestFewCallsAreAnOverloadIfTheyStay: one call in a second is refused only if it
// comes on top of many that are under way.
func TestFewCallsAreAnOverloadIfTheyStay(t *testing.T) {
	for takes, want := range map[time.Duration]bool{0: false, (leastCalls - 1) * time.Second: false, time.Minute: true} {
		synctest.Test(t, func(t *testing.T) {
			a := NewAdmission(false, slog.New(slog.DiscardHandler))
			a.measure = func() (waitMeter, error) { return standing(time.Second), nil }
			h := a.Limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(takes) }))
			ctx, stop := context.WithCancel(t.Context())
			go a.Run(ctx)
			for range 60 {
				go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
				time.Sleep(time.Second)
			}
			if refused := a.Refused() > 0; refused != want {
				t.Errorf("calls of %s: refused: %t", takes, refused)
			}
			time.Sleep(time.Minute)
			stop()
		})
	}
}

// TestWithoutAMeterNothingIsRefused: what cannot be measured is said once, and
// refuses nothing.
func TestWithoutAMeterNothingIsRefused(t *testing.T) {
	var log strings.Builder
	a := NewAdmission(false, slog.New(slog.NewTextHandler(&log, nil)))
	a.measure = func() (waitMeter, error) { return nil, errors.New("too many open files") }
	a.Limit(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
	a.Run(t.Context())
	if !strings.Contains(log.String(), "too many open files") || a.refusing() != 0 {
		t.Errorf("%s, %.2f", &log, a.refusing())
	}
}

// countingMeter counts how often it is used and closed.
type countingMeter struct{ measured, closed atomic.Int32 }

func (m *countingMeter) measure(time.Time) time.Duration { m.measured.Add(1); return time.Second }
func (m *countingMeter) close()                          { m.closed.Add(1) }

// TestAnOverloadThatTakesTheLastFileIsMeasured: the meter is there before the first
// call, serves each time that calls come, is used little for one call and not at all for
// none, and is closed in the end, when nothing is refused any more.
func TestAnOverloadThatTakesTheLastFileIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var given int
		var meter countingMeter
		a := NewAdmission(false, slog.New(slog.DiscardHandler))
		a.measure = func() (waitMeter, error) { given++; return &meter, nil }
		ctx, stop := context.WithCancel(t.Context())
		go a.Run(ctx)
		synctest.Wait()
		if given != 1 {
			t.Fatalf("%d meters before the first call", given)
		}
		h := a.Limit(http.NotFoundHandler())
		call := func() {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/mcp", nil))
		}
		untilRefused := func() {
			for before := a.Refused(); a.Refused() == before; time.Sleep(10 * time.Millisecond) {
				call()
			}
		}
		for _, busy := range []bool{true, false, true} {
			before := meter.measured.Load()
			if busy {
				untilRefused()
				atFirst := meter.measured.Load()
				for range 100 {
					call()
					time.Sleep(10 * time.Millisecond)
				}
				if least := int(time.Second/measureEvery) - 1; meter.measured.Load()-atFirst < int32(least) {
					t.Errorf("an overload is measured %d times a second", meter.measured.Load()-atFirst)
				}
			} else {
				call()
			}
			time.Sleep(2 * idleAfter)
			measured := meter.measured.Load()
			if most := int(idleAfter/calmEvery) + 2; !busy && measured-before > int32(most) {
				t.Errorf("one call is measured %d times", measured-before)
			}
			time.Sleep(time.Hour)
			if meter.measured.Load() != measured {
				t.Error("an instance without calls measures")
			}
		}
		untilRefused()
		stop()
		synctest.Wait()
		if given != 1 || meter.closed.Load() != 1 {
			t.Errorf("%d meters, %d closed", given, meter.closed.Load())
		}
		before := a.Refused()
		for range 1000 {
			call()
		}
		if a.Refused() != before {
			t.Error("calls are refused when nothing is measured any more")
		}
	})
}

// TestTheWaitIsThatOfAByteAmongTheRequests: one that is under way counts before it
// has arrived, and the last one that has arrived until the next one does.
func TestTheWaitIsThatOfAByteAmongTheRequests(t *testing.T) {
	meter, err := newWaitProbe()
	if err != nil {
		t.Fatal(err)
	}
	p := meter.(*waitProbe)
	clocktest.Eventually(t, "the byte arrives", 10*time.Second, func() bool { return p.measure(time.Now()) < time.Hour })
	arrived := func() bool { return p.sent.Load() == 0 }
	clocktest.Eventually(t, "the last byte arrives", 10*time.Second, arrived)
	p.measure(p.start.Add(time.Hour)) // a byte that is sent in an hour
	clocktest.Eventually(t, "the byte from the future arrives", 10*time.Second, arrived)
	if got := p.measure(time.Now()); got > 0 {
		t.Errorf("%s for a byte that was sent later than it has arrived", got)
	}
	meter.close()
	for _, end := range []*os.File{p.in, p.out} {
		if err := end.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("an end of the pipe is not closed: %v", err)
		}
	}
	reading := func() bool {
		all := make([]byte, 1<<20)
		return bytes.Contains(all[:runtime.Stack(all, true)], []byte("(*waitProbe).read"))
	}
	clocktest.Eventually(t, "nobody waits for a byte of the closed meter", 10*time.Second, func() bool { return !reading() })
}
