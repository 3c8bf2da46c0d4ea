package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"
)

// WriteError answers with err as RFC 6749 §5.2 says and logs its cause. An
// error that is not an *Error is a server_error whose text stays in the log.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	e := AsError(err)
	log.LogAttrs(r.Context(), LogLevel(r, e), "refused",
		slog.String("path", r.URL.Path), slog.String("error", string(e.Code)),
		slog.String("description", Describe(e.Description)), slog.Any("cause", e.cause))
	SetRetryAfter(w.Header(), e.RetryAfter)
	WriteJSON(w, e.Status(), struct {
		Error       Code   `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, Describe(e.Description)})
}

// LogLevel is the level to log the answer e to r at: Error where this server
// or what it depends on failed, Info for the client's mistakes, and Debug if
// nobody waits for the answer any more.
func LogLevel(r *http.Request, e *Error) slog.Level {
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		return slog.LevelDebug
	case e.Status() >= http.StatusInternalServerError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// SetRetryAfter sets Retry-After to d in whole seconds, rounded up, if d is
// positive.
func SetRetryAfter(h http.Header, d time.Duration) {
	if d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// WriteJSON answers with v, not to be stored by any cache (RFC 6749 §5.1)
// unless the caller has set another Cache-Control.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
