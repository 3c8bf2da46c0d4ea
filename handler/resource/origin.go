package resource

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"entramcp/handler/cors"
	"entramcp/handler/oauth"
)

// originPolicy says from which web pages requests may come, by Origin, and
// refuses names that a page's author points at us (DNS rebinding), by Host.
type originPolicy struct {
	origins []string
	hosts   []string
	local   bool // we are on loopback, and so are our developers' pages
}

func newOriginPolicy(endpoint *url.URL, origins, hosts []string) originPolicy {
	p := originPolicy{local: oauth.Loopback(endpoint.Hostname()), origins: []string{oauth.Origin(endpoint)}, hosts: []string{hostName(endpoint.Host)}}
	for _, o := range origins {
		if u, err := url.Parse(o); err == nil {
			p.origins = append(p.origins, oauth.Origin(u))
		}
	}
	for _, h := range hosts {
		p.hosts = append(p.hosts, hostName(h))
	}
	return p
}

// allowsHost reports whether a Host header may be ours. The port is not
// compared: proxies and port forwarding change it, and rebinding does not depend
// on it. An address and localhost always pass, for a page can only rebind a name
// that its author has in DNS.
func (p originPolicy) allowsHost(header string) bool {
	name := hostName(header)
	if name == "localhost" || slices.Contains(p.hosts, name) {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// allowsOrigin reports whether a request may come from a page of that origin.
func (p originPolicy) allowsOrigin(header string) bool {
	u, err := url.Parse(header)
	if err != nil || !strings.EqualFold(u.Scheme+"://"+u.Host, header) {
		return false
	}
	if p.local && (u.Scheme == "http" || u.Scheme == "https") && oauth.Loopback(u.Hostname()) {
		return true
	}
	return slices.Contains(p.origins, oauth.Origin(u))
}

// hostName is a Host header without port and brackets, in lower case.
func hostName(hostport string) string {
	name, _, err := net.SplitHostPort(hostport)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// allowOrigin reports whether the request may come from the page it comes from,
// if it comes from one, and lets that page read the answer. The check is made
// for every method (MCP streamable HTTP, "Security Warning").
func (g *Guard) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	from := r.Header.Values("Origin")
	if len(from) == 0 {
		return true
	}
	if len(from) > 1 || !g.origins.allowsOrigin(from[0]) {
		return false
	}
	if !g.inAzure {
		w.Header().Set("Access-Control-Allow-Origin", from[0])
	}
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Correlation-Id")
	return true
}

// preflight answers OPTIONS, which browsers send without credentials (Fetch,
// "CORS-preflight fetch"). In Azure preflights end at the platform.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") == "" || g.inAzure {
		w.Header().Set("Allow", "POST, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	cors.Preflight(w, r, "POST, GET, DELETE, OPTIONS")
}
