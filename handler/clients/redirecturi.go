package clients

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxRedirectURI is the longest redirect URI in bytes; browsers and proxies accept
// Location headers of 2 KB.
const maxRedirectURI = 2048

var (
	hostPattern   = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)
	ipv6Pattern   = regexp.MustCompile(`^\[[0-9A-Fa-f:.]+\]$`)
	schemePattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
	// placeholderPattern finds what a client should have replaced, such as the
	// port in http://127.0.0.1:__PORT__/.
	placeholderPattern = regexp.MustCompile(`:(__\w+__|\$\w+|PORT\b)|\$?\{\w*\}|<\w*>`)
)

// responseParameters are what this server adds to a redirect URI, or what an
// authorization server could add (RFC 6749 §4.1.2, RFC 9207 §2, OpenID Connect). If a
// redirect URI had one already, the response would have two, and a client that reads
// the first would take the registered one for ours.
var responseParameters = []string{
	"access_token", "code", "error", "error_description", "error_uri", "expires_in", "id_token",
	"iss", "response", "session_state", "state", "token_type",
}

// parseRedirect says why uri can never be a redirect URI, whatever the
// operator lists: it could run code, leak the code or mean different things to
// this server and to a browser.
func parseRedirect(uri string) (*url.URL, error) {
	if uri == "" || len(uri) > maxRedirectURI {
		return nil, fmt.Errorf("it must have 1 to %d characters", maxRedirectURI)
	}
	if placeholder := placeholderPattern.FindString(uri); placeholder != "" {
		return nil, fmt.Errorf("it contains the placeholder %s, which the client must replace", strings.TrimPrefix(placeholder, ":"))
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return nil, errors.New("it contains a character that is not allowed in a URI")
		}
	}
	switch {
	case strings.Contains(uri, "#"):
		return nil, errors.New("it must not have a fragment")
	case strings.Contains(uri, "*"):
		return nil, errors.New("wildcards are not supported")
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New("it is not a URI")
	}
	switch {
	case u.Scheme == "" || !schemePattern.MatchString(u.Scheme):
		return nil, errors.New("it must be an absolute URI")
	case dangerousScheme(u.Scheme):
		return nil, fmt.Errorf("the scheme %s is not allowed", u.Scheme)
	case u.User != nil:
		return nil, errors.New("it must not contain a user name or password")
	case u.String() != uri:
		return nil, errors.New("it is not in normal form")
	case hasDotSegment(u.EscapedPath()) || hasDotSegment(u.Opaque):
		return nil, errors.New("it must not contain . or .. path segments")
	}
	if err := checkQuery(u.RawQuery); err != nil {
		return nil, err
	}
	return u, checkAuthority(u)
}

// checkQuery refuses parameters of the authorization response, in every
// spelling that a client's framework might read as one.
func checkQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("its query is not properly encoded")
	}
	for name := range values {
		name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "[") // PHP reads state[] as state
		if slices.Contains(responseParameters, name) {
			return fmt.Errorf("its query must not contain %s, which the authorization response adds", name)
		}
	}
	return nil
}

func checkAuthority(u *url.URL) error {
	switch u.Scheme {
	case "https", "http":
		if !validHost(u.Host) {
			return errors.New("it must name a host")
		}
		if u.Scheme == "http" && !isLoopbackURI(u.String()) {
			return errors.New("http is allowed only for localhost, 127.0.0.1 and [::1]; use https")
		}
	default:
		if u.Host != "" && !validHost(u.Host) {
			return errors.New("its host is malformed")
		}
		if u.Host == "" && u.Opaque == "" && strings.Trim(u.Path, "/") == "" {
			return errors.New("it has nothing after the scheme")
		}
	}
	return nil
}

// validHost takes the authority of a parsed URL: a host, perhaps a port.
func validHost(authority string) bool {
	host, port, found := splitPort(authority)
	if found && !validPort(port) {
		return false
	}
	return len(host) <= 253 && (hostPattern.MatchString(host) || ipv6Pattern.MatchString(host))
}

func splitPort(authority string) (host, port string, found bool) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority, "", false
	}
	return authority[:i], authority[i+1:], true
}

func withoutDefaultPort(authority string) string { return strings.TrimSuffix(authority, ":443") }

// validPort accepts 1 to 65535 in decimal, without leading zeros.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// hasDotSegment also recognizes the encoded dots that browsers resolve like plain
// ones (WHATWG URL, "single-dot" and "double-dot URL path segment").
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// loopback is an http URI to this machine, split as text: nothing but the host is
// normalized.
type loopback struct {
	host string // localhost, 127.0.0.1 or [::1]
	port string // with its colon, or empty
	rest string // all that follows
}

func splitLoopback(uri string) (l loopback, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return l, false
	}
	end := strings.IndexAny(after, "/?#\\")
	if end < 0 {
		end = len(after)
	}
	host, port, found := splitPort(after[:end])
	if found {
		if !validPort(port) {
			return l, false
		}
		l.port = ":" + port
	}
	l.host, l.rest = strings.ToLower(host), after[end:]
	switch inner, bracketed := strings.CutPrefix(l.host, "["); {
	case l.host == "localhost" || l.host == "127.0.0.1":
		return l, true
	case bracketed:
		address, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		l.host = "[::1]"
		return l, err == nil && address == netip.IPv6Loopback()
	}
	return l, false
}

func isLoopbackURI(uri string) bool {
	_, ok := splitLoopback(uri)
	return ok
}

// canonicalRedirect writes the host of a loopback URI in the form that is stored;
// other URIs stay as they are.
func canonicalRedirect(uri string) string {
	if l, ok := splitLoopback(uri); ok {
		return "http://" + l.host + l.port + l.rest
	}
	return uri
}

// isNative reports whether uri leads to an app on the user's machine.
func isNative(uri string) bool { return !strings.HasPrefix(uri, "https://") }

// sameRedirect compares a registered URI with a given one. With anyLoopback,
// localhost, 127.0.0.1 and [::1] count as equal.
func sameRedirect(registered, given string, anyLoopback bool) bool {
	if registered == given {
		return true
	}
	r, ok := splitLoopback(registered)
	if !ok {
		return false
	}
	g, ok := splitLoopback(given)
	return ok && r.rest == g.rest && (anyLoopback || r.host == g.host)
}
