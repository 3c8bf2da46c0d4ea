// Package health answers whether the process is up and whether it can serve.
package health

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"entramcp/handler/oauth"
)

const (
	// checkTimeout bounds the checks of one report.
	checkTimeout = 10 * time.Second
	// reportAge is how long a report is used again: anonymous
	// requests must not become storage reads, one each.
	reportAge = 2 * time.Second
	// retryAfter is when to ask again, in seconds.
	retryAfter = "5"
)

// Options are what New needs; all are required.
type Options struct {
	// Checks are what the server depends on, by name. The names and causes of
	// failures go to the log only.
	Checks map[string]func(context.Context) error
	Now    func() time.Time
	Log    *slog.Logger
}

// Health is safe for concurrent use.
type Health struct {
	Options
	draining atomic.Bool
	flight   singleflight.Group

	mu    sync.Mutex
	ready bool
	asOf  time.Time
}

// New makes a Health. It checks nothing yet.
func New(o Options) *Health { return &Health{Options: o} }

// Drain makes Ready answer 503, so that a load balancer sends no more
// of them.
func (h *Health) Drain() { h.draining.Store(true) }

// Up says that the process is up. Nothing that it depends on is asked.
func (h *Health) Up(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "up") }

// Ready says whether everything that the server depends on answers.
func (h *Health) Ready(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() {
		answer(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	if !h.report(r.Context()) {
		answer(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	answer(w, http.StatusOK, "ready")
}

func answer(w http.ResponseWriter, status int, text string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	oauth.WriteJSON(w, status, map[string]string{"status": text})
}

// report is at most reportAge old. Concurrent callers share one run of the
// checks, which none of them can cut short.
func (h *Health) report(ctx context.Context) bool {
	if ready, recent := h.last(); recent {
		return ready
	}
	done := h.flight.DoChan("", func() (any, error) {
		// Another run may have ended since.
		if ready, recent := h.last(); recent {
			return ready, nil
		}
		ready := h.check(context.WithoutCancel(ctx))
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ready, h.asOf = ready, h.Now()
		return ready, nil
	})
	select {
	case result := <-done:
		return result.Val.(bool)
	case <-ctx.Done():
		return false
	}
}

// last is the last report, and whether it is recent enough to be used again.
func (h *Health) last() (ready, recent bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready, h.Now().Sub(h.asOf) < reportAge
}

func (h *Health) check(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var (
		wg     sync.WaitGroup
		failed atomic.Bool
	)
	for name, check := range h.Checks {
		wg.Go(func() {
			if err := check(ctx); err != nil {
				failed.Store(true)
				h.Log.WarnContext(ctx, "not ready", "check", name, "cause", err)
			}
		})
	}
	wg.Wait()
	return !failed.Load()
}
