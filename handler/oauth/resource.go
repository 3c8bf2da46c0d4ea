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
// origin, with or without a trailing slash, in any case of scheme and host. Any
// other value is invalid_target, and so is a list of which one is.
func (r Resource) Accept(values []string) error {
	for _, v := range values {
		if !r.Names(v) {
			return New(InvalidTarget, "The resource parameter does not name this server. Use "+string(r)+".")
		}
	}
	return nil
}

// Names reports whether value is one of the accepted forms of r.
func (r Resource) Names(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(value, "#") {
		return false
	}
	own, err := url.Parse(string(r))
	if err != nil {
		return false
	}
	if !strings.EqualFold(u.Scheme, own.Scheme) || !strings.EqualFold(hostport(u), hostport(own)) {
		return false
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	return path == "" || path == own.EscapedPath()
}

// hostport is the authority without the scheme's default port.
func hostport(u *url.URL) string {
	if (strings.EqualFold(u.Scheme, "https") && u.Port() == "443") || (strings.EqualFold(u.Scheme, "http") && u.Port() == "80") {
		return u.Hostname()
	}
	return u.Host
}
