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

// bounded gives each request a deadline, which its body has to arrive by too: a
// sender that trickles it would otherwise hold the connection for as long as it
// likes. One call to the table may take longer by itself, because it is tried
// three times.
func bounded(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		// The server lifts it before the next request of the connection. What
		// is no connection, as in the doctor, has no deadline.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
