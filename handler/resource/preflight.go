package resource

import (
	"net/http"
	"strings"
)

const preflightHeaders = "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, Last-Event-ID"

// preflight answers OPTIONS, which browsers send without credentials (Fetch,
// "CORS-preflight fetch"). In Azure preflights end at the platform.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", "POST, OPTIONS")
	if r.Header.Get("Origin") != "" && !g.inAzure {
		h.Set("Access-Control-Allow-Methods", "POST, GET, DELETE")
		h.Set("Access-Control-Allow-Headers", preflightHeaders+paramHeaders(r.Header.Get("Access-Control-Request-Headers")))
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// paramHeaders repeats the Mcp-Param-… names that were asked for: they are the
// tools' own, and a wildcard does not cover them together with Authorization.
func paramHeaders(requested string) string {
	var b strings.Builder
	for name := range strings.SplitSeq(requested, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if suffix, ok := strings.CutPrefix(name, "mcp-param-"); ok && headerName(suffix) {
			b.WriteString(", Mcp-Param-" + suffix)
		}
	}
	return b.String()
}

func headerName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
