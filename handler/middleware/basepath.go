package middleware

import (
	"net/http"
	"net/url"
	"strings"
)

// BasePath takes base, the path of PUBLIC_URL, from the paths of requests that
// have it: a gateway in front may have taken it away or not.
func BasePath(base string, next http.Handler) http.Handler {
	if base == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, base)
		if !ok || path != "" && path[0] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		if path == "" {
			path = "/"
		}
		stripped := *r
		stripped.URL = new(url.URL)
		*stripped.URL = *r.URL
		stripped.URL.Path, stripped.URL.RawPath = path, strings.TrimPrefix(r.URL.RawPath, base)
		next.ServeHTTP(w, &stripped)
	})
}
