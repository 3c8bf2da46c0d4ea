package middleware

import "net/http"

// Headers sets what every answer carries. secure says that clients come over
// https, and keeps them there for a year (RFC 6797), on this host alone: others
// below it may belong to somebody else.
func Headers(secure bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
