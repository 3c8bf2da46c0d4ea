package clients

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxRedirectURI is the longest redirect URI in bytes; browsers and the
// Location headers they follow cope with 2 KB.
const maxRedirectURI = 2048

// privateSchemes are the schemes without a dot that may be registered unless
// the operator lists others. RFC 8252 §7.1 asks for reversed domain names;
// these editors and desktop apps came without one.
var privateSchemes = []string{
	"claude", "cursor", "goose", "raycast", "vscode", "vscode-insiders", "warp", "windsurf", "zed",
}

// refusedSchemes are executed, rendered or opened by the browser itself, so no
// list can admit them.
var refusedSchemes = []string{
	"about", "blob", "chrome", "chrome-extension", "data", "edge", "file", "filesystem", "ftp", "intent",
	"javascript", "jar", "mailto", "ms-appinstaller", "ms-msdt", "resource", "search-ms", "sms", "tel",
	"vbscript", "view-source", "ws", "wss",
}

var (
	hostPattern   = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)
	ipv6Pattern   = regexp.MustCompile(`^\[[0-9A-Fa-f:.]+\]$`)
	schemePattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
)

// checkRedirect says why uri can never be a redirect URI, whatever the
// operator lists: it could run code, leak the code or mean different things to
// this server and to a browser.
func checkRedirect(uri string) (*url.URL, error) {
	if uri == "" || len(uri) > maxRedirectURI {
		return nil, fmt.Errorf("it must have 1 to %d characters", maxRedirectURI)
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return nil, errors.New("it holds a character that is not allowed in a URI")
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
	case slices.Contains(refusedSchemes, u.Scheme):
		return nil, fmt.Errorf("the scheme %s is not allowed", u.Scheme)
	case u.User != nil:
		return nil, errors.New("it must not hold a user name or password")
	case u.String() != uri:
		return nil, errors.New("it is not in normal form")
	case hasDotSegment(u.EscapedPath()) || hasDotSegment(u.Opaque):
		return nil, errors.New("it must not have . or .. path segments")
	}
	return u, checkAuthority(u)
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

// validPort accepts 1 to 65535 written the only way.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// hasDotSegment also sees the encoded dots that browsers resolve like plain
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

// splitLoopback cuts an http loopback URI into the host and all that follows
// the port. It works on the text alone, so that nothing is normalised.
func splitLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	end := strings.IndexAny(after, "/?#\\")
	if end < 0 {
		end = len(after)
	}
	host, port, found := splitPort(after[:end])
	if found && !validPort(port) {
		return "", "", false
	}
	return host, after[end:], host == "localhost" || host == "127.0.0.1" || host == "[::1]"
}

func isLoopbackURI(uri string) bool {
	_, _, ok := splitLoopback(uri)
	return ok
}

// isNative reports whether uri leads to an app on the user's machine.
func isNative(uri string) bool { return !strings.HasPrefix(uri, "https://") }

func sameRedirect(registered, given string) bool {
	if registered == given {
		return true
	}
	host, rest, ok := splitLoopback(registered)
	if !ok {
		return false
	}
	givenHost, givenRest, ok := splitLoopback(given)
	return ok && host == givenHost && rest == givenRest
}
