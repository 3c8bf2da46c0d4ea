package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// RedirectPolicy decides which redirect URIs a client may register or name in
// its metadata document. The zero policy accepts https URIs of any host, http
// on localhost, 127.0.0.1 and [::1] with any port, private-use schemes that
// contain a dot (RFC 8252 §7.1) and those of a few known native apps. Every
// policy refuses schemes that a browser executes or opens by itself, user
// names, fragments, wildcards, dot segments and characters outside RFC 3986.
type RedirectPolicy struct{ patterns []redirectPattern }

// NewRedirectPolicy restricts redirect URIs to the given patterns; without any
// it is the zero policy. A pattern is one of two forms:
//
//   - a URI matches that very URI. The port of an http loopback URI is free.
//   - a URI that ends in /* matches the URIs that begin with what comes before
//     the asterisk and go on with at least one more character, in a path
//     without encoded slashes or backslashes and without a query. So
//     https://host/path/* matches https://host/path/x and
//     https://host/path/x/y, but neither https://host/path nor another host,
//     port, scheme or spelling of the host.
//
// Comparison is byte by byte on what was sent; nothing is normalised or
// decoded. A private-use scheme that is listed need not contain a dot.
func NewRedirectPolicy(patterns ...string) (RedirectPolicy, error) {
	var policy RedirectPolicy
	var errs []error
	for _, text := range patterns {
		pattern, err := parsePattern(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("redirect URI pattern %q: %w", text, err))
			continue
		}
		policy.patterns = append(policy.patterns, pattern)
	}
	return policy, errors.Join(errs...)
}

// Check says in plain words why uri is refused, or returns nil.
func (p RedirectPolicy) Check(uri string) error {
	u, err := checkRedirect(uri)
	if err != nil {
		return err
	}
	if p.patterns != nil {
		if !slices.ContainsFunc(p.patterns, func(r redirectPattern) bool { return r.matches(uri) }) {
			return errors.New("it is not on this server's list of allowed redirect URIs")
		}
		return nil
	}
	switch {
	case u.Scheme == "https" || u.Scheme == "http":
	case strings.Contains(u.Scheme, "."), slices.Contains(privateSchemes, u.Scheme):
	default:
		return fmt.Errorf("the private-use scheme %s is not allowed; use a reversed domain name such as com.example.app (RFC 8252 §7.1)", u.Scheme)
	}
	return nil
}

// Filter returns the URIs that pass, in order and without doubles, and the
// reason why the first of the others did not.
func (p RedirectPolicy) Filter(uris []string) (accepted []string, refused error) {
	for _, uri := range uris {
		if err := p.Check(uri); err != nil {
			if refused == nil {
				refused = fmt.Errorf("the redirect URI %s is refused: %w", quoteForClient(uri), err)
			}
			continue
		}
		if !slices.Contains(accepted, uri) {
			accepted = append(accepted, uri)
		}
	}
	return accepted, refused
}

// redirectPattern is one entry of the operator's list.
type redirectPattern struct {
	text   string // an exact URI, or a prefix that ends in a slash
	prefix bool
}

func parsePattern(text string) (redirectPattern, error) {
	stem, prefix := strings.CutSuffix(text, "*")
	if prefix && !strings.HasSuffix(stem, "/") {
		return redirectPattern{}, errors.New("an asterisk is allowed only at the end, after a slash")
	}
	u, err := checkRedirect(stem)
	if err != nil {
		return redirectPattern{}, err
	}
	// Without an authority, or with a query, the slash before the asterisk
	// would not be the end of a host or of a path segment.
	if prefix && (u.Host == "" || u.RawQuery != "" || u.ForceQuery || !strings.HasPrefix(u.Path, "/")) {
		return redirectPattern{}, errors.New("a pattern with /* needs a scheme, a host and a path, and no query")
	}
	return redirectPattern{text: stem, prefix: prefix}, nil
}

func (r redirectPattern) matches(uri string) bool {
	if !r.prefix {
		return sameRedirect(r.text, uri)
	}
	rest, ok := strings.CutPrefix(uri, r.text)
	if host, path, loopback := splitLoopback(r.text); loopback && !ok {
		givenHost, givenPath, _ := splitLoopback(uri)
		if host == givenHost {
			rest, ok = strings.CutPrefix(givenPath, path)
		}
	}
	if !ok || rest == "" || hasDotSegment(rest) {
		return false
	}
	lower := strings.ToLower(rest)
	return !strings.ContainsAny(rest, "?#\\*") && !strings.Contains(lower, "%2f") && !strings.Contains(lower, "%5c")
}

// quoteForClient makes untrusted text safe to repeat in an error description,
// whose characters RFC 6749 §5.2 limits to printable ASCII without " and \.
func quoteForClient(s string) string {
	const most = 120
	var b strings.Builder
	for i := range len(s) {
		if b.Len() >= most {
			b.WriteString("...")
			break
		}
		if c := s[i]; c >= ' ' && c <= '~' && c != '"' && c != '\\' {
			b.WriteByte(c)
		} else {
			b.WriteByte('?')
		}
	}
	return "'" + b.String() + "'"
}
