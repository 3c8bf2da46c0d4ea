package funchost

import (
	"net/http"
	"slices"
)

// preflight answers what browsers ask before a request of another origin. On
// Flex the host always does so itself, whatever origins are configured
// (JobHostCorsMiddleware): the handler never sees a preflight.
func (h *Host) preflight(w http.ResponseWriter, r *http.Request) bool {
	method := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || method == "" {
		return false
	}
	if h.allow(w.Header(), r) {
		w.Header().Set("Access-Control-Allow-Methods", method)
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			w.Header().Set("Access-Control-Allow-Headers", asked)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// allow lets the page that sent r read the answer, if it is of an allowed
// origin. A header that the handler has set stays, so that browsers would see
// two: what the real host does then is not known, and two is the worst case.
func (h *Host) allow(header http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	switch {
	case origin == "":
		return false
	case slices.Contains(h.options.Origins, "*"):
		header.Add("Access-Control-Allow-Origin", "*")
	case slices.Contains(h.options.Origins, origin):
		header.Add("Access-Control-Allow-Origin", origin)
		header.Add("Vary", "Origin")
	default:
		return false
	}
	return true
}
