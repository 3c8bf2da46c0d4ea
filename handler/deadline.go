package handler

import (
	"context"
	"net/http"
	"time"
)

// storageShare is what a request may spend on the table beside its call to
// Entra. With the default TIMEOUT_SECONDS of 8 that makes 9.5 s: clients that
// wait 10 s still get the 503 with its Retry-After, and repeat the request.
const storageShare = 1500 * time.Millisecond

// bounded gives each request a deadline. One call to the table may take longer
// by itself, because it is tried three times.
func bounded(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
