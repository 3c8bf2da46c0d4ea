// Package cors lets clients that run in a web browser call this server from other
// origins (Fetch, "CORS protocol"). In Azure the platform answers with these
// headers and this package adds none, because duplicate headers are invalid.
package cors

import (
	"net/http"
	"strings"
)

// maxAge is how long in seconds browsers may keep the answer to a preflight.
const maxAge = "3600"

// AnyOrigin lets web pages of every origin call next, with any header, and read
// its answers. It is for what no cookie plays a part in.
func AnyOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
		next.ServeHTTP(w, r)
	})
}

// AnyOriginPreflight answers OPTIONS for [AnyOrigin]. methods is a list such as
// "POST, OPTIONS".
func AnyOriginPreflight(methods string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		Preflight(w, r, methods)
	})
}

// Preflight answers 204 and allows methods with every header that the browser
// asks for. Whether the origin may call at all is for the caller to say in
// Access-Control-Allow-Origin.
func Preflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Allow", methods)
	h.Set("Access-Control-Allow-Methods", methods)
	if names := headerNames(r.Header.Get("Access-Control-Request-Headers")); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Add("Vary", "Access-Control-Request-Headers")
	h.Set("Access-Control-Max-Age", maxAge)
	w.WriteHeader(http.StatusNoContent)
}

// headerNames repeats what was asked for, name by name: a wildcard does not
// cover Authorization (Fetch, "CORS-preflight fetch"). What is not a name of a
// header, and what is beyond 40 names, is left out.
func headerNames(requested string) string {
	var names []string
	for name := range strings.SplitSeq(requested, ",") {
		if name = strings.TrimSpace(name); isToken(name) && len(names) < 40 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// isToken reports whether s is a token of RFC 9110 §5.6.2 of at most 64 bytes.
func isToken(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") == ""
}
