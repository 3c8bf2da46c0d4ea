package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type fixture struct {
	*Health
	now    time.Time
	asked  atomic.Int64
	broken atomic.Bool
	log    bytes.Buffer
}

func newFixture() *fixture {
	f := &fixture{now: time.Unix(1000, 0)}
	f.Health = New(Options{
		Now: func() time.Time { return f.now },
		Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Checks: map[string]func(context.Context) error{
			"storage": func(context.Context) error {
				f.asked.Add(1)
				if f.broken.Load() {
					return errors.New("no route to the table")
				}
				return nil
			},
			"keys": func(context.Context) error { return nil },
		},
	})
	return f
}

func (f *fixture) ready() *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.Ready(w, httptest.NewRequest("GET", "/readyz", nil))
	return w
}

func TestStrangersWhoAskAreNotAStorageReadEach(t *testing.T) {
	f := newFixture()
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if w := f.ready(); w.Code != http.StatusOK {
				t.Errorf("got %d", w.Code)
			}
		})
	}
	wg.Wait()
	if n := f.asked.Load(); n != 1 {
		t.Errorf("500 requests made %d reads", n)
	}
}

func TestAnOutageIsSeenWithinSeconds(t *testing.T) {
	f := newFixture()
	f.ready()
	f.broken.Store(true)
	f.now = f.now.Add(reportAge)
	w := f.ready()
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if body := w.Body.String(); strings.Contains(body, "storage") || strings.Contains(body, "route") {
		t.Errorf("strangers are told what fails: %s", body)
	}
	if log := f.log.String(); !strings.Contains(log, "check=storage") || !strings.Contains(log, "no route to the table") || strings.Contains(log, "check=keys") {
		t.Errorf("the log says: %s", log)
	}
	f.broken.Store(false)
	f.now = f.now.Add(reportAge)
	if w := f.ready(); w.Code != http.StatusOK {
		t.Errorf("after the outage: %d", w.Code)
	}
}

func TestACallerWhoLeavesDoesNotSpoilTheReport(t *testing.T) {
	f := newFixture()
	entered, leave := make(chan struct{}), make(chan struct{})
	f.Checks["keys"] = func(ctx context.Context) error {
		close(entered)
		<-leave
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Ready(httptest.NewRecorder(), httptest.NewRequest("GET", "/readyz", nil).WithContext(ctx))
	}()
	<-entered
	cancel()
	<-done
	answers := make(chan int)
	go func() { answers <- f.ready().Code }()
	close(leave)
	if code := <-answers; code != http.StatusOK {
		t.Errorf("got %d", code)
	}
}

func TestWhoIsStoppingIsNotReadyButUp(t *testing.T) {
	f := newFixture()
	f.ready()
	f.Drain()
	if w := f.ready(); w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", w.Code)
	}
	w := httptest.NewRecorder()
	f.Up(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != http.StatusOK || f.asked.Load() != 1 {
		t.Errorf("up: %d, and %d checks", w.Code, f.asked.Load())
	}
}
