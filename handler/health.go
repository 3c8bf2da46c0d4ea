package handler

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// readyTimeout bounds the checks of one /readyz.
const readyTimeout = 10 * time.Second

// healthz says that the process is up. Nothing it depends on is asked.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	oauth.WriteJSON(w, http.StatusOK, map[string]string{"status": "up"})
}

// readyz says whether storage, keys and Entra's metadata answer. Callers learn
// which, operators find the reason in the log.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	checks := map[string]func(context.Context) error{"storage": s.storageReady, "keys": s.ring.Ready, "entra": s.entra.Ready}
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		status = http.StatusOK
		report = map[string]string{}
	)
	for name, check := range checks {
		wg.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			if report[name] = "ready"; err != nil {
				report[name] = "not ready"
				status = http.StatusServiceUnavailable
				s.deps.Log.WarnContext(ctx, "not ready", "check", name, "cause", err)
			}
		})
	}
	wg.Wait()
	oauth.WriteJSON(w, status, report)
}

// storageReady reads a row that never exists.
func (s *Server) storageReady(ctx context.Context) error {
	if _, err := s.deps.Table.Get(ctx, "ready", "ready"); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}
