package oauth

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
)

// WriteError answers with err as RFC 6749 §5.2 says and logs its cause. An
// error that is no *Error is a server_error whose text stays in the log.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	e := AsError(err)
	level := slog.LevelInfo
	if e.Status() >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	log.LogAttrs(r.Context(), level, "refused",
		slog.String("path", r.URL.Path), slog.String("error", string(e.Code)),
		slog.String("description", e.Description), slog.Any("cause", e.cause))
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	WriteJSON(w, e.Status(), struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
}

// AsError returns the *Error in err's chain, or a server_error caused by err.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return New(ServerError, "The server could not complete the request.").Because(err)
}

// WriteJSON answers with v, not to be stored by any cache (RFC 6749 §5.1)
// unless the caller has set another Cache-Control.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
