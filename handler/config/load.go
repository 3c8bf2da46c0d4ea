package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"entramcp/handler/oauth"
)

// MCPPath is where the MCP endpoint is served. Clients compare what their
// users typed with the resource metadata, so it is not configurable.
const MCPPath = "/mcp"

// consumersTenant is the tenant that holds all personal Microsoft accounts.
const consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// Load reads and checks the configuration. The error, if any, is Problems.
func Load(getenv func(string) string) (Config, error) {
	r := &reader{getenv: getenv}
	ownPort := r.port("PORT", 7071)
	c := Config{
		Port:                r.port("FUNCTIONS_CUSTOMHANDLER_PORT", ownPort),
		Hosted:              r.text("FUNCTIONS_CUSTOMHANDLER_PORT") != "",
		RequiredScopes:      oauth.NewScopes(r.list("REQUIRED_SCOPES")...),
		Timeout:             r.seconds("TIMEOUT_SECONDS", 8*time.Second, time.Second, time.Minute),
		AccessTokenLifetime: r.duration("ACCESS_TOKEN_LIFETIME", 30*time.Minute, time.Second, 24*time.Hour),
		SweepInterval:       r.duration("SWEEP_INTERVAL", 15*time.Minute, time.Second, 24*time.Hour),
		RefreshLifetime:     r.duration("REFRESH_LIFETIME", 90*24*time.Hour, time.Minute, 365*24*time.Hour),
		AllowedRedirectURIs: r.list("ALLOWED_REDIRECT_URIS"),
		ClientMetadataHosts: r.list("CLIENT_METADATA_HOSTS"),
		PinnedClients:       r.text("PINNED_CLIENTS"),
		IdentityClientID:    r.text("AZURE_CLIENT_ID"),
	}
	if len(c.RequiredScopes) == 0 {
		c.RequiredScopes = oauth.NewScopes("openid", "profile", "email")
	}
	if len(c.ClientMetadataHosts) == 0 {
		c.ClientMetadataHosts = []string{"*"}
	}
	c.LogLevel = r.level("LOG_LEVEL")
	r.public(&c, ownPort)
	r.redirectPath(&c)
	r.entra(&c)
	r.store(&c)
	r.origins(&c)
	if len(r.problems) > 0 {
		return Config{}, r.problems
	}
	return c, nil
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
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		r.bad(name, fmt.Sprintf("is %q, which is no web address", v), "Write an address such as https://mcp.example.com")
		return
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		r.bad(name, fmt.Sprintf("is %q; it must be an origin alone", v),
			fmt.Sprintf("Write %s://%s, without a path; the MCP endpoint is added to it", u.Scheme, u.Host))
		return
	case u.Scheme == "http" && !oauth.Loopback(u.Hostname()):
		r.bad(name, fmt.Sprintf("is %q; without TLS it may only name this computer", v), "Write https://"+u.Host)
		return
	}
	c.Issuer = u.Scheme + "://" + strings.ToLower(u.Host)
	c.Resource = oauth.Resource(c.Issuer + MCPPath)
}

// ownPaths are taken by other routes.
var ownPaths = []string{MCPPath, "/register", "/authorize", "/consent", "/token", "/revoke", "/introspect", "/healthz", "/readyz"}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

func (r *reader) redirectPath(c *Config) {
	const name = "REDIRECT_PATH"
	p := r.textOr(name, "/auth/callback")
	switch {
	case !plainPath.MatchString(p) || strings.Contains(p, "/."):
		r.bad(name, fmt.Sprintf("is %q", p), "Write a path such as /auth/callback")
	case slices.Contains(ownPaths, p), strings.HasPrefix(p, "/admin"), strings.HasPrefix(p, "/runtime"):
		// The Functions host keeps /admin and /runtime to itself.
		r.bad(name, fmt.Sprintf("is %q, which is taken", p), "Write another path such as /auth/callback")
	}
	c.RedirectPath = p
}

// tableName is Azure Table Storage's rule for names of tables.
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

func (r *reader) store(c *Config) {
	c.Store = Store{
		TablesURL:        strings.TrimSuffix(r.text("TABLES_URL"), "/"),
		ConnectionString: Secret(r.text("TABLES_CONNECTION_STRING")),
		TableName:        r.textOr("TABLES_NAME", "mcp"),
		DataDir:          r.textOr("DATA_DIR", ".data"),
	}
	if !tableName.MatchString(c.Store.TableName) {
		r.bad("TABLES_NAME", fmt.Sprintf("is %q", c.Store.TableName), "Write 3 to 63 letters and digits, a letter first")
	}
	c.Keys = Keys{
		VaultKeyURL: r.text("KEY_VAULT_KEY_URL"),
		MasterKey:   Secret(r.text("MASTER_KEY")),
		Previous:    Secret(r.text("MASTER_KEY_PREVIOUS")),
	}
	if c.Store.TablesURL != "" && c.Store.ConnectionString != "" {
		r.bad("TABLES_URL", "and TABLES_CONNECTION_STRING are both set", "Keep one of them")
	}
	if u, err := url.Parse(c.Store.TablesURL); c.Store.TablesURL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		r.bad("TABLES_URL", fmt.Sprintf("is %q", c.Store.TablesURL), "Write https://ACCOUNT.table.core.windows.net")
	}
	if c.InAzure && c.Store.Embedded() {
		r.bad("TABLES_URL", "is not set; a file would not outlive this instance nor be seen by others",
			"Write https://ACCOUNT.table.core.windows.net")
	}
	switch u, err := url.Parse(c.Keys.VaultKeyURL); {
	case c.Keys.VaultKeyURL != "" && c.Keys.MasterKey != "":
		r.bad("MASTER_KEY", "and KEY_VAULT_KEY_URL are both set",
			"Keep one of them; to move to Key Vault, name the old key in MASTER_KEY_PREVIOUS")
	case c.Keys.VaultKeyURL != "" && (err != nil || u.Scheme != "https" || !strings.HasPrefix(u.Path, "/keys/")):
		r.bad("KEY_VAULT_KEY_URL", fmt.Sprintf("is %q", c.Keys.VaultKeyURL), "Write https://VAULT.vault.azure.net/keys/NAME")
	case c.Keys.VaultKeyURL == "" && c.Keys.MasterKey == "" && (c.InAzure || !c.Store.Embedded()):
		r.bad("KEY_VAULT_KEY_URL", "is not set, nor is MASTER_KEY; instances need a key in common",
			"Write https://VAULT.vault.azure.net/keys/NAME, or put the output of `openssl rand -base64 32` into MASTER_KEY")
	}
}

func (r *reader) origins(c *Config) {
	c.AllowedOrigins = r.list("ALLOWED_ORIGINS")
	for _, o := range c.AllowedOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
			r.bad("ALLOWED_ORIGINS", fmt.Sprintf("names %q, which is no origin", o), "Write origins such as https://app.example.com")
		}
	}
}

func (r *reader) level(name string) slog.Level {
	var l slog.Level
	if v := r.text(name); v != "" {
		if err := l.UnmarshalText([]byte(v)); err != nil {
			r.bad(name, fmt.Sprintf("is %q", v), "Write debug, info, warn or error")
		}
	}
	return l
}
