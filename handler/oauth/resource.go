package oauth

import (
	"net/url"
	"strings"
)

// Resource is the canonical URI of the protected resource (RFC 8707 §2): the
// MCP endpoint as users type it, without a trailing slash.
type Resource string

// Accept decides which resource a client means by its resource parameters.
// None means the only resource there is; clients write the canonical URI or the
// issuer (the same without /mcp), with or without a trailing slash, in any case of scheme and host. Any
// other value is invalid_target, and so is a list of which one is.
func (r Resource) Accept(values []string) error {
	for _, v := range values {
		if !r.Names(v) {
			return New(InvalidTarget, "The resource parameter does not name this server. Use "+string(r)+".")
		}
	}
	return nil
}

// Names reports whether value is one of the accepted forms of r. A query does
// not matter: some clients send the URL as the user typed it.
func (r Resource) Names(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.User != nil || strings.Contains(value, "#") {
		return false
	}
	own, err := url.Parse(string(r))
	if err != nil || Origin(u) != Origin(own) {
		return false
	}
	path, endpoint := strings.TrimSuffix(u.EscapedPath(), "/"), own.EscapedPath()
	return path == endpoint || path == endpoint[:max(strings.LastIndexByte(endpoint, '/'), 0)]
}

// Origin is the serialized origin of u (RFC 6454 §6.2): in lower case, without
// the port that is the scheme's default.
func Origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme { // which Parse has put in lower case
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}
