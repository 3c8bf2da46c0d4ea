package resource

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"entramcp/handler/oauth"
)

// pages knows the web pages that may send requests, by Origin, and guards
// against those that reach us under a name of theirs (DNS rebinding), by Host.
type pages struct {
	origins []string
	hosts   []string
	local   bool // we are on loopback, and so are our developers' pages
}

func newPages(endpoint *url.URL, origins, hosts []string) pages {
	p := pages{local: oauth.Loopback(endpoint.Hostname()), origins: []string{origin(endpoint)}, hosts: []string{bare(endpoint.Host)}}
	for _, o := range origins {
		if u, err := url.Parse(o); err == nil && u.Host != "" {
			p.origins = append(p.origins, origin(u))
		}
	}
	for _, h := range hosts {
		p.hosts = append(p.hosts, bare(h))
	}
	return p
}

// host reports whether a Host header may be ours. The port is not compared:
// proxies and port forwarding change it, and rebinding does not depend on it. An
// address and localhost always pass, for a page can only rebind a name that its
// author has in DNS.
func (p pages) host(header string) bool {
	name := bare(header)
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	return slices.Contains(p.hosts, name)
}

// origin reports whether a request may come from a page of that origin.
func (p pages) origin(header string) bool {
	u, err := url.Parse(header)
	if err != nil || u.Host == "" || !strings.EqualFold(u.Scheme+"://"+u.Host, header) {
		return false
	}
	if p.local && (u.Scheme == "http" || u.Scheme == "https") && oauth.Loopback(u.Hostname()) {
		return true
	}
	return slices.Contains(p.origins, origin(u))
}

// bare is a host header without port and brackets, in lower case.
func bare(hostport string) string {
	name, _, err := net.SplitHostPort(hostport)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// origin is the serialized origin (RFC 6454 §6.2): default ports are left out.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// crossOrigin reports whether the request may come from the page it comes from,
// if it comes from one, and lets that page read the answer. The check is made
// for every method (MCP streamable HTTP, "Security Warning").
func (g *Guard) crossOrigin(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	from := r.Header.Values("Origin")
	if len(from) == 0 {
		return true
	}
	if len(from) > 1 || !g.pages.origin(from[0]) {
		return false
	}
	if !g.inAzure {
		w.Header().Set("Access-Control-Allow-Origin", from[0])
	}
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Correlation-Id")
	return true
}
