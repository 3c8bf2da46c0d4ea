package clients

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"entramcp/handler/oauth"
)

// dangerousSchemes are executed, rendered or opened by a browser itself, or make the
// operating system or an app do something when they are opened. The operator cannot
// allow them.
var dangerousSchemes = []string{
	"about", "android-app", "blob", "cid", "content", "data", "devtools", "feed", "file", "filesystem", "ftp", "ftps", "gopher",
	"intent", "ipfs", "ipns", "jar", "javascript", "livescript", "market", "mhtml", "mid", "mk", "mocha", "news", "nntp", "opera", "res",
	"resource", "urn", "vbscript", "view-source", "vivaldi", "ws", "wss", "wyciwyg",
	"afp", "bitcoin", "callto", "cifs", "dav", "davs", "facetime", "facetime-audio", "git", "irc", "ircs", "itms", "itms-apps", "itms-services",
	"jetbrains", "jnlp", "jnlps", "ldap", "ldaps", "magnet", "mailto", "mms", "msteams", "nfs", "onenote", "odopen", "rdp", "rlogin",
	"scp", "search", "search-ms", "sftp", "shell", "shortcuts", "sip", "sips", "skype", "slack", "smb", "sms", "ssh", "steam", "svn", "tel", "telnet", "tftp",
	"tg", "tn3270", "vnc", "webcal", "webcals", "whatsapp", "x-github-client", "x-man-page", "xmpp", "zoommtg",
	"applescript", "hcp", "help", "its", "microsoft-edge", "moz-extension", "edge", "brave", "chrome", "docker-desktop",
}

// dangerousPrefixes begin the schemes of operating systems, of browsers and of
// web sites that handle links of others.
var dangerousPrefixes = []string{"ms-", "x-apple", "chrome-", "safari-", "web+", "ext+", "git+", "svn+"}

func dangerousScheme(scheme string) bool {
	return slices.Contains(dangerousSchemes, scheme) ||
		slices.ContainsFunc(dangerousPrefixes, func(prefix string) bool { return strings.HasPrefix(scheme, prefix) })
}

// editorCallbacks are paths at which extensions of the editors below take the
// answer of an authorization server (Cline's ends in a hash of the server's
// URL). The rest of an editor's scheme installs MCP servers, opens folders and
// clones repositories.
var editorCallbacks = []string{"//saoudrizwan.claude-dev/mcp-auth/callback/*", "//vscode.github-authentication/did-authenticate"}

// appCallbacks are the callbacks, after the colon, of apps that use their scheme for
// more than callbacks. Only these may be registered; the operator can list others.
var appCallbacks = map[string][]string{
	"antigravity": editorCallbacks, "code-oss": editorCallbacks, "kiro": editorCallbacks, "positron": editorCallbacks,
	"qoder": editorCallbacks, "trae": editorCallbacks, "vscode": editorCallbacks, "vscode-insiders": editorCallbacks, "vscodium": editorCallbacks,
	"windsurf": editorCallbacks,
	"cursor":   append([]string{"//anysphere.cursor-mcp/oauth/*", "//anysphere.cursor-retrieval/oauth/*"}, editorCallbacks...),
	"raycast":  {"//oauth?package_name=Extension"},
	"warp":     {"//mcp/oauth2callback"},
	"chatgpt":  {}, "claude": {}, "claude-cli": {}, "codex": {}, "goose": {}, "lmstudio": {}, "zed": {},
}

// RedirectPolicy decides which redirect URIs a client may register or name in its
// metadata document. The zero policy accepts https URIs of any host, http on
// localhost, 127.0.0.1 and [::1] with any port, and private-use schemes (RFC 8252
// §7.1) that are not known to be dangerous: without a dot in its name, a scheme takes
// no query, and the schemes of a few known apps take only their known callbacks.
// Every policy refuses user names, fragments, wildcards, dot segments, parameters of
// the authorization response and characters outside RFC 3986.
type RedirectPolicy struct {
	listed []redirectPattern
	only   bool
}

// onlyListed is the entry with which a list replaces the policy.
const onlyListed = "only"

// NewRedirectPolicy makes a policy that also accepts, and trusts, what the
// operator lists; if the first entry is the word only, it accepts nothing else.
// An entry is one of two forms:
//
//   - a URI matches that very URI. The port of an http loopback URI is free.
//   - a URI that ends in /* matches the URIs that begin with what comes before
//     the asterisk and go on with at least one more character, in a path
//     without encoded slashes or backslashes and without a query. So
//     https://host/path/* matches https://host/path/x and
//     https://host/path/x/y, but neither https://host/path nor another host,
//     port, scheme or spelling of the host.
//
// Comparison is byte by byte on what was sent; nothing but the host of a
// loopback URI is normalized, and nothing decoded. The error names each entry
// that is not valid.
func NewRedirectPolicy(entries ...string) (RedirectPolicy, error) {
	var policy RedirectPolicy
	if len(entries) > 0 && entries[0] == onlyListed {
		policy.only, entries = true, entries[1:]
		if len(entries) == 0 {
			return policy, errors.New("the word only must be followed by redirect URIs")
		}
	}
	var errs []error
	for _, text := range entries {
		pattern, err := parsePattern(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("redirect URI %q: %w", text, err))
			continue
		}
		policy.listed = append(policy.listed, pattern)
	}
	return policy, errors.Join(errs...)
}

// Check says in plain words why uri is refused, or returns nil.
func (p RedirectPolicy) Check(uri string) error {
	u, err := parseRedirect(canonicalRedirect(uri))
	switch {
	case err != nil:
		return err
	case p.lists(uri):
		return nil
	case p.only:
		return errors.New("it is not on this server's list of allowed redirect URIs (ALLOWED_REDIRECT_URIS)")
	case u.Scheme == "https" || u.Scheme == "http":
		return nil
	}
	if callbacks, known := appCallbacks[u.Scheme]; known {
		if !slices.ContainsFunc(callbacks, func(callback string) bool { return appPattern(u.Scheme, callback).matches(uri) }) {
			return fmt.Errorf("it is not a known callback of the app that has the scheme %s; the operator can add it to ALLOWED_REDIRECT_URIS", u.Scheme)
		}
		return nil
	}
	if !strings.Contains(u.Scheme, ".") && (u.RawQuery != "" || u.ForceQuery) {
		return fmt.Errorf("the private-use scheme %s must not have a query; the operator can add it to ALLOWED_REDIRECT_URIS", u.Scheme)
	}
	return nil
}

// Filter returns the URIs that pass, in canonical form, in order and without
// duplicates, and why the first of the others is refused.
func (p RedirectPolicy) Filter(uris []string) (accepted []string, refused error) {
	for _, uri := range uris {
		if err := p.Check(uri); err != nil {
			if refused == nil {
				refused = fmt.Errorf("the redirect URI %s is refused: %w", quoteForClient(uri), err)
			}
			continue
		}
		if uri = canonicalRedirect(uri); !slices.Contains(accepted, uri) {
			accepted = append(accepted, uri)
		}
	}
	return accepted, refused
}

func (p RedirectPolicy) lists(uri string) bool {
	return slices.ContainsFunc(p.listed, func(r redirectPattern) bool { return r.matches(uri) })
}

// redirectPattern is one entry of the operator's list.
type redirectPattern struct {
	text   string // an exact URI, or a prefix that ends in a slash
	prefix bool
}

func appPattern(scheme, callback string) redirectPattern {
	stem, prefix := strings.CutSuffix(callback, "*")
	return redirectPattern{text: scheme + ":" + stem, prefix: prefix}
}

func parsePattern(text string) (redirectPattern, error) {
	stem, prefix := strings.CutSuffix(text, "*")
	if prefix && !strings.HasSuffix(stem, "/") {
		return redirectPattern{}, errors.New("an asterisk is allowed only at the end, after a slash")
	}
	stem = canonicalRedirect(stem)
	u, err := parseRedirect(stem)
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
	uri = canonicalRedirect(uri)
	if !r.prefix {
		return sameRedirect(r.text, uri, false)
	}
	rest, ok := strings.CutPrefix(uri, r.text)
	if pattern, loopback := splitLoopback(r.text); loopback && !ok {
		if given, is := splitLoopback(uri); is && pattern.host == given.host {
			rest, ok = strings.CutPrefix(given.rest, pattern.rest)
		}
	}
	if !ok || rest == "" || hasDotSegment(rest) {
		return false
	}
	lower := strings.ToLower(rest)
	return !strings.ContainsAny(rest, "?#\\*") && !strings.Contains(lower, "%2f") && !strings.Contains(lower, "%5c")
}

// quoteForClient quotes untrusted text in an error description, shortened.
func quoteForClient(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return "'" + oauth.Describe(s) + "'"
}
