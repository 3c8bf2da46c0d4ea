package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
)

// MCPPath is where the MCP endpoint is served, below the path of PUBLIC_URL.
// Clients compare what their users typed with the resource metadata, so it is
// not configurable.
const MCPPath = "/mcp"

// Load reads and checks the configuration. The error, if any, is Problems.
func Load(getenv func(string) string) (Config, error) {
	r := &reader{getenv: getenv}
	ownPort := r.port("PORT", 7071)
	c := Config{
		Port:           r.port("FUNCTIONS_CUSTOMHANDLER_PORT", ownPort),
		Hosted:         r.text("FUNCTIONS_CUSTOMHANDLER_PORT") != "",
		ListenAddress:  r.listenAddress(),
		TrustedProxies: r.networks("TRUSTED_PROXIES"),
		RequiredScopes: oauth.NewScopes(r.list("REQUIRED_SCOPES")...),
		Timeout:        r.seconds("TIMEOUT_SECONDS", 8*time.Second, time.Second, time.Minute),
		SweepInterval:  r.duration("SWEEP_INTERVAL", 15*time.Minute, time.Second, 24*time.Hour),
		UserCalls:      r.rate("CALLS_PER_USER"),
		ToolCalls:      r.rate("CALLS_PER_TOOL"),
		TenantCalls:    r.rate("CALLS_PER_TENANT"),
		AddressLimits: AddressLimits{
			Requests: r.rate("REQUESTS_PER_ADDRESS"), Registrations: r.rate("REGISTRATIONS_PER_ADDRESS"), SignIns: r.rate("SIGN_INS_PER_ADDRESS"),
			Fetches: r.rate("FETCHES_PER_ADDRESS"), FailedAssertions: r.rate("FAILED_ASSERTIONS_PER_ADDRESS"),
		},
		ToolDeadline:     r.duration("TOOL_DEADLINE", 10*time.Minute, time.Second, 24*time.Hour),
		RememberConsent:  r.choice("CONSENT", "remember", "always") == "remember",
		IdentityClientID: r.text("AZURE_CLIENT_ID"),
		LogLevel:         r.level("LOG_LEVEL"),
		LogFormat:        LogFormat(r.choice("LOG_FORMAT", string(LogAuto), string(LogText), string(LogJSON))),
		RegistryProof:    r.text("MCP_REGISTRY_AUTH"),
		AppsChallenge:    r.text("OPENAI_APPS_CHALLENGE"),
		AuditObjectIDs:   r.choice("AUDIT_OBJECT_IDS", "off", "on") == "on",
	}
	if len(c.RequiredScopes) == 0 {
		c.RequiredScopes = oauth.NewScopes("openid", "profile", "email")
	}
	r.public(&c, ownPort)
	r.redirectPath(&c)
	r.lifetimes(&c)
	r.clients(&c)
	r.entra(&c)
	r.store(&c)
	r.keys(&c)
	r.origins(&c)
	for _, p := range notSupported {
		if getenv(p.Name) != "" {
			c.Notices = append(c.Notices, p)
		}
	}
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
}

// LoadStore reads and checks what concerns the table and the keys, for commands
// that act on them alone. The rest of the result is empty. The error, if any, is
// Problems.
func LoadStore(getenv func(string) string) (Config, error) {
	r := &reader{getenv: getenv}
	c := Config{LogLevel: r.level("LOG_LEVEL"), IdentityClientID: r.text("AZURE_CLIENT_ID"), AuditObjectIDs: r.choice("AUDIT_OBJECT_IDS", "off", "on") == "on"}
	r.public(&c, r.port("PORT", 7071))
	r.lifetimes(&c)
	r.store(&c)
	r.keys(&c)
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
}

// LoadAddress reads and checks where the server is, for commands that need nothing
// else. The rest of the result is empty. The error, if any, is Problems.
func LoadAddress(getenv func(string) string) (Config, error) {
	r := &reader{getenv: getenv}
	var c Config
	r.public(&c, r.port("PORT", 7071))
	if u, err := url.Parse(c.Issuer); len(r.problems) == 0 && (err != nil || u.Scheme != "https") {
		r.bad("PUBLIC_URL", fmt.Sprintf("is %q, which only this computer can reach", c.Issuer), "Write the address that clients use, such as https://mcp.example.com")
	}
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
}

func (r *reader) listenAddress() netip.Addr {
	const name = "LISTEN_ADDRESS"
	address, err := netip.ParseAddr(strings.Trim(r.textOr(name, "127.0.0.1"), "[]"))
	if err != nil {
		r.bad(name, fmt.Sprintf("is %q, which is not an address", r.text(name)), "Write 127.0.0.1, or 0.0.0.0 in a container")
	}
	return address
}

// public finds the URL under which clients reach the server. It is never taken
// from a request: Host and X-Forwarded-* are the client's to choose.
func (r *reader) public(c *Config, ownPort int) {
	// func start sets WEBSITE_HOSTNAME too, to localhost and its port.
	site := r.text("WEBSITE_HOSTNAME")
	siteHost, _, err := net.SplitHostPort(site)
	if err != nil {
		siteHost = site
	}
	c.InAzure = site != "" && !oauth.Loopback(siteHost)
	fallback := "http://localhost:" + strconv.Itoa(ownPort)
	if c.InAzure {
		c.SiteHost = site
		fallback = "https://" + site
	} else if site != "" {
		fallback = "http://" + site
	}
	const name = "PUBLIC_URL"
	v := r.textOr(name, fallback)
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		r.bad(name, fmt.Sprintf("is %q, which is not an http or https URL", v), "Write an address such as https://mcp.example.com")
		return
	}
	origin := u.Scheme + "://" + canonicalHost(u)
	path := strings.TrimRight(u.EscapedPath(), "/")
	switch {
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#") || u.User != nil:
		r.bad(name, fmt.Sprintf("is %q; it must not have a query, a fragment or a user name", u.Redacted()), "Write "+origin+path)
		return
	case path == MCPPath || strings.HasSuffix(path, MCPPath):
		r.bad(name, fmt.Sprintf("is %q; the MCP endpoint is added to it", v), "Write "+origin+strings.TrimSuffix(path, MCPPath))
		return
	case path != "" && slices.Contains(append(ownPaths, "/.well-known", "/admin", "/runtime"), "/"+strings.Split(path, "/")[1]):
		// A gateway may take the path away, and then nobody knew what is meant.
		r.bad(name, fmt.Sprintf("is %q, whose path conflicts with one of the server's own paths", v), "Write another path, such as "+origin+"/tools")
		return
	case path != "" && (!plainPath.MatchString(path) || strings.Contains(path, "/.")):
		r.bad(name, fmt.Sprintf("is %q, whose path can be written in more than one way", v),
			"Write a path of letters, digits and the characters - . _ ~, such as "+origin+"/tools")
		return
	case u.Scheme == "http" && !oauth.Loopback(u.Hostname()):
		r.bad(name, fmt.Sprintf("is %q; http is allowed only for this computer", v), "Write https://"+canonicalHost(u)+path)
		return
	case c.InAzure && oauth.Loopback(u.Hostname()) && !r.simulated():
		r.bad(name, fmt.Sprintf("is %q, which for each client means the client's own computer", v), "Write the address that clients use, such as https://"+site)
		return
	}
	c.Issuer = origin + path
	c.BasePath = path
	c.Resource = oauth.Resource(c.Issuer + MCPPath)
	shared := []string{"own", "shared"}
	if path != "" {
		slices.Reverse(shared)
	}
	c.SharedHost = r.choice("PUBLIC_HOST", shared...) == "shared"
}

// simulated reports whether the tenant is a simulated one on this computer, and
// so Azure is an emulated one.
func (r *reader) simulated() bool { return Entra{Authority: r.text("ENTRA_AUTHORITY")}.Simulated() }

// ownPaths are taken by other routes.
var ownPaths = []string{MCPPath, "/register", "/authorize", "/consent", "/token", "/revoke", "/introspect", "/healthz", "/readyz", "/account"}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func (r *reader) redirectPath(c *Config) {
	const name = "REDIRECT_PATH"
	p := r.textOr(name, "/auth/callback")
	switch {
	case !plainPath.MatchString(p) || strings.Contains(p, "/."):
		r.bad(name, fmt.Sprintf("is %q", p), "Write a path such as /auth/callback")
	case slices.Contains(ownPaths, p), strings.HasPrefix(p, "/account/"), strings.HasPrefix(p, "/admin"), strings.HasPrefix(p, "/runtime"):
		// The Functions host keeps /admin and /runtime to itself.
		r.bad(name, fmt.Sprintf("is %q, which the server uses itself", p), "Write another path such as /auth/callback")
	}
	c.RedirectPath = p
}

// The default and the most of REFRESH_GRACE.
const (
	refreshGrace     = time.Minute
	refreshGraceMost = 10 * time.Minute
)

func (r *reader) lifetimes(c *Config) {
	c.AccessTokenLifetime = r.duration("ACCESS_TOKEN_LIFETIME", 30*time.Minute, time.Second, 24*time.Hour)
	c.RefreshLifetime = r.duration("REFRESH_LIFETIME", 90*24*time.Hour, time.Minute, 365*24*time.Hour)
	c.GrantLifetime = r.duration("GRANT_LIFETIME", 0, time.Minute, 10*365*24*time.Hour)
	c.Recheck = r.duration("ENTRA_RECHECK", 0, time.Minute, 24*time.Hour)
	if c.RefreshLifetime < c.AccessTokenLifetime {
		// The grant would be removed while its access token is still good, and
		// revoking would find nothing.
		r.bad("REFRESH_LIFETIME", fmt.Sprintf("is %s, less than ACCESS_TOKEN_LIFETIME %s", c.RefreshLifetime, c.AccessTokenLifetime),
			"Write "+c.AccessTokenLifetime.String()+" or more")
	}
	if c.GrantLifetime > 0 && c.GrantLifetime < c.AccessTokenLifetime {
		r.bad("GRANT_LIFETIME", fmt.Sprintf("is %s, less than ACCESS_TOKEN_LIFETIME %s", c.GrantLifetime, c.AccessTokenLifetime),
			"Write "+c.AccessTokenLifetime.String()+" or more")
	}
	half := c.AccessTokenLifetime / 2
	c.RefreshGrace = r.duration("REFRESH_GRACE", min(refreshGrace, half), time.Second, refreshGraceMost)
	if r.text("REFRESH_GRACE") != "" && c.RefreshGrace >= half {
		// A thief who repeats a stolen handle would stay in the grace for ever.
		r.bad("REFRESH_GRACE", fmt.Sprintf("is %s, half of ACCESS_TOKEN_LIFETIME %s or more, which hides the theft of a refresh token", c.RefreshGrace, c.AccessTokenLifetime),
			"Write less than "+half.String()+", or lengthen ACCESS_TOKEN_LIFETIME")
	}
}

// clients are the settings about what MCP clients may be.
func (r *reader) clients(c *Config) {
	var err error
	if c.Redirects, err = clients.NewRedirectPolicy(r.list("ALLOWED_REDIRECT_URIS")...); err != nil {
		r.bad("ALLOWED_REDIRECT_URIS", "cannot be used: "+reason(err, ""), "Write redirect URIs or patterns such as https://host/path/*, with commas between them")
	}
	hosts := r.list("CLIENT_METADATA_HOSTS")
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	if c.MetadataHosts, err = clients.ParseHosts(hosts...); err != nil {
		r.bad("CLIENT_METADATA_HOSTS", "cannot be used: "+reason(err, ""), "Write host names with commas between them, * or none")
	}
	if c.Pinned, err = clients.ParsePinned(r.text("PINNED_CLIENTS")); err != nil {
		r.bad("PINNED_CLIENTS", "cannot be used: "+reason(err, ""), "Write a JSON array of metadata documents, or the path of a file with one")
	}
	c.IssuerAudienceOnly = r.choice("CLIENT_ASSERTION_AUDIENCE", "issuer-or-token-endpoint", "issuer") == "issuer"
}

func (r *reader) origins(c *Config) {
	const name = "ALLOWED_ORIGINS"
	for _, o := range r.list(name) {
		u, ok := parseOrigin(o)
		if !ok {
			r.bad(name, fmt.Sprintf("names %q, which is not an origin", o), "Write origins such as https://app.example.com")
			continue
		}
		c.AllowedOrigins = append(c.AllowedOrigins, u.String())
	}
}
