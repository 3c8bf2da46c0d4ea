package config

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testClientID  = "11111111-2222-3333-4444-555555555555"
	testMasterKey = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// valid is the smallest configuration that starts.
func valid(change ...string) func(string) string {
	env := map[string]string{
		"ENTRA_TENANT_ID":     "contoso.onmicrosoft.com",
		"ENTRA_CLIENT_ID":     testClientID,
		"ENTRA_CLIENT_SECRET": "s3cr3t-value",
	}
	for i := 0; i < len(change); i += 2 {
		env[change[i]] = change[i+1]
	}
	return func(name string) string { return env[name] }
}

func TestDefaults(t *testing.T) {
	c, err := Load(valid())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimSpace(fmt.Sprintln(c.Port, c.Hosted, c.InAzure, c.Issuer, c.Resource, c.RedirectPath, c.RequiredScopes, c.Timeout,
		c.Store.Embedded(), c.Store.DataDir, c.Entra.Authority, c.Entra.GraphURL, c.AccessTokenLifetime, c.RefreshLifetime, c.RefreshGrace,
		c.GrantLifetime, c.Recheck, c.RememberConsent, c.ListenAddress, len(c.TrustedProxies), c.SharedHost, c.LogLevel, c.LogFormat, c.AuditObjectIDs, len(c.Notices)))
	want := "7071 false false http://localhost:7071 http://localhost:7071/mcp /auth/callback email openid profile 8s " +
		"true .data https://login.microsoftonline.com https://graph.microsoft.com 30m0s 2160h0m0s 1m0s 0s 0s true 127.0.0.1 0 false INFO auto false 0"
	if got != want {
		t.Errorf("defaults:\n got %s\nwant %s", got, want)
	}
}

func TestSettingsOfThePythonServerWork(t *testing.T) {
	env := map[string]string{
		"FASTMCP_SERVER_AUTH_AZURE_CLIENT_ID":       testClientID,
		"FASTMCP_SERVER_AUTH_AZURE_CLIENT_SECRET":   "s3cr3t-value",
		"FASTMCP_SERVER_AUTH_AZURE_TENANT_ID":       "99999999-2222-3333-4444-555555555555",
		"FASTMCP_SERVER_AUTH_AZURE_BASE_URL":        "https://mcp.example.com/",
		"FASTMCP_SERVER_AUTH_AZURE_REDIRECT_PATH":   "/oauth/done",
		"FASTMCP_SERVER_AUTH_AZURE_REQUIRED_SCOPES": "openid, mcp.read",
		"FASTMCP_SERVER_AUTH_AZURE_TIMEOUT_SECONDS": "10",
	}
	c, err := Load(func(n string) string { return env[n] })
	if err != nil {
		t.Fatal(err)
	}
	if c.Entra.ClientID != testClientID || c.Entra.ClientSecret.Reveal() != "s3cr3t-value" || c.Entra.TenantID != env["FASTMCP_SERVER_AUTH_AZURE_TENANT_ID"] ||
		c.Issuer != "https://mcp.example.com" || c.RedirectPath != "/oauth/done" || c.RequiredScopes.String() != "mcp.read openid" || c.Timeout != 10*time.Second {
		t.Errorf("got %+v", c)
	}
	env["ENTRA_TENANT_ID"] = "plain.example.com"
	if c, _ := Load(func(n string) string { return env[n] }); c.Entra.TenantID != "plain.example.com" {
		t.Error("the plain name does not win over the older one")
	}
}

func TestPublicURLIsNeverGuessedFromARequest(t *testing.T) {
	for _, tt := range []struct {
		env     []string
		issuer  string
		inAzure bool
	}{
		{nil, "http://localhost:7071", false},
		{[]string{"PORT", "8080"}, "http://localhost:8080", false},
		{[]string{"FUNCTIONS_CUSTOMHANDLER_PORT", "40123", "WEBSITE_HOSTNAME", "localhost:7071"}, "http://localhost:7071", false},
		{[]string{"WEBSITE_HOSTNAME", "f.azurewebsites.net", "TABLES_URL", "https://a.table.core.windows.net", "MASTER_KEY", testMasterKey}, "https://f.azurewebsites.net", true},
		{[]string{"PUBLIC_URL", "https://MCP.Example.com/"}, "https://mcp.example.com", false},
	} {
		c, err := Load(valid(tt.env...))
		if err != nil || c.Issuer != tt.issuer || c.InAzure != tt.inAzure || string(c.Resource) != tt.issuer+"/mcp" {
			t.Errorf("%v: issuer %q, in Azure %v, %v; want %q, %v", tt.env, c.Issuer, c.InAzure, err, tt.issuer, tt.inAzure)
		}
		if (c.SiteHost == "f.azurewebsites.net") != tt.inAzure {
			t.Errorf("%v: the platform calls us %q", tt.env, c.SiteHost)
		}
	}
}

func TestEachMistakeNamesItsSetting(t *testing.T) {
	for _, tt := range [][]string{
		{"PORT", "PORT", "http"},
		{"PORT", "PORT", "70000"},
		{"PUBLIC_URL", "PUBLIC_URL", "http://mcp.example.com"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/api?x=1"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/a%2Fb"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/../x"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/mcp"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/tools/mcp/"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://user:pass@mcp.example.com"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://:8080"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/token"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/.well-known/x"},
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com#"},
		{"PUBLIC_HOST", "PUBLIC_HOST", "mine"},
		{"LISTEN_ADDRESS", "LISTEN_ADDRESS", "everywhere"},
		{"TRUSTED_PROXIES", "TRUSTED_PROXIES", "10.0.0.0/99"},
		{"TRUSTED_PROXIES", "TRUSTED_PROXIES", "0.0.0.0/0"},
		{"TRUSTED_PROXIES", "TRUSTED_PROXIES", "10.0.0.1,::/0"},
		{"PUBLIC_URL", "PUBLIC_URL", "mcp.example.com"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/token"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "auth"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/auth/../mcp"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/admin/callback"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "soon"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "NaN"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "-1"},
		{"ACCESS_TOKEN_LIFETIME", "ACCESS_TOKEN_LIFETIME", "forever"},
		{"ACCESS_TOKEN_LIFETIME", "ACCESS_TOKEN_LIFETIME", "25h"},
		{"REFRESH_LIFETIME", "REFRESH_LIFETIME", "99999d"},
		{"REFRESH_LIFETIME", "REFRESH_LIFETIME", "10m"}, // less than the access token's
		{"REFRESH_GRACE", "REFRESH_GRACE", "15m"},       // more than is allowed at all
		{"REFRESH_GRACE", "ACCESS_TOKEN_LIFETIME,REFRESH_GRACE", "10m,5m"},
		{"GRANT_LIFETIME", "GRANT_LIFETIME", "10m"},
		{"GRANT_LIFETIME", "GRANT_LIFETIME", "some time"},
		{"ENTRA_RECHECK", "ENTRA_RECHECK", "1s"},
		{"REGISTRATIONS_PER_ADDRESS", "REGISTRATIONS_PER_ADDRESS", "many"},
		{"REQUESTS_PER_ADDRESS", "REQUESTS_PER_ADDRESS", "0/1s"},
		{"FETCHES_PER_ADDRESS", "FETCHES_PER_ADDRESS", "0/1m"},
		{"CONSENT", "CONSENT", "never"},
		{"ALLOWED_REDIRECT_URIS", "ALLOWED_REDIRECT_URIS", "https://*/cb"},
		{"CLIENT_METADATA_HOSTS", "CLIENT_METADATA_HOSTS", "https://claude.ai/x"},
		{"PINNED_CLIENTS", "PINNED_CLIENTS", "/does/not/exist.json"},
		{"PINNED_CLIENTS", "PINNED_CLIENTS", `[{"client_id":"nothing"}]`},
		{"CLIENT_ASSERTION_AUDIENCE", "CLIENT_ASSERTION_AUDIENCE", "any"},
		{"REQUIRED_SCOPES", "REQUIRED_SCOPES", `["read", 1]`},
		{"LOG_LEVEL", "LOG_LEVEL", "loud"},
		{"LOG_FORMAT", "LOG_FORMAT", "xml"},
		{"AUDIT_OBJECT_IDS", "AUDIT_OBJECT_IDS", "maybe"},
		{"ALLOWED_ORIGINS", "ALLOWED_ORIGINS", "app.example.com"},
		{"ALLOWED_ORIGINS", "ALLOWED_ORIGINS", "*"},
		{"ALLOWED_ORIGINS", "ALLOWED_ORIGINS", "https://app.example.com/path"},
		{"ENTRA_PROMPT", "ENTRA_PROMPT", "consent"},
		{"ENTRA_DOMAIN_HINT", "ENTRA_DOMAIN_HINT", "not a domain"},
		{"ENTRA_TENANT_ID", "ENTRA_TENANT_ID", "my tenant"},
		{"ENTRA_TENANT_ID", "ENTRA_TENANT_ID", ""},
		{"ENTRA_ALLOWED_TENANTS", "ENTRA_TENANT_ID", "organizations"},
		{"ENTRA_ALLOWED_TENANTS", "ENTRA_ALLOWED_TENANTS", "contoso"},
		{"ENTRA_CLIENT_ID", "ENTRA_CLIENT_ID", "my-app"},
		{"ENTRA_CLIENT_SECRET", "ENTRA_CLIENT_SECRET", ""},
		{"ENTRA_CLIENT_CERTIFICATE_PATH", "ENTRA_CLIENT_CERTIFICATE_PATH", "cert.pem"},
		{"ENTRA_API_SCOPE", "ENTRA_API_SCOPE", "mcp.access"},
		{"ENTRA_API_SCOPE", "ENTRA_API_SCOPE", "api://x/.default"},
		{"ENTRA_AUTHORITY", "ENTRA_AUTHORITY", "http://login.example.com"},
		{"ENTRA_AUTHORITY", "ENTRA_AUTHORITY", "https://login.microsoftonline.com#x"},
		{"ENTRA_AUTHORITY", "ENTRA_AUTHORITY", "https://user@login.microsoftonline.com"},
		{"ENTRA_APP_CALLERS", "ENTRA_APP_CALLERS", "on"},
		{"ENTRA_CLIENTS", "ENTRA_CLIENTS", "copilot"},
		{"ENTRA_CLIENTS", "ENTRA_CLIENTS", strings.ToUpper(testClientID)},
		{"ENTRA_RESOURCE_URI", "ENTRA_RESOURCE_URI", "https://mcp.example.com/mcp"},
		{"ENTRA_CLIENT_SECRET_EXPIRES", "ENTRA_CLIENT_SECRET_EXPIRES", "next May"},
		{"GRAPH_URL", "GRAPH_URL", "http://graph.example.com"},
		{"TABLES_URL", "TABLES_URL", "http://a.table.core.windows.net"},
		{"TABLES_URL", "WEBSITE_HOSTNAME", "f.azurewebsites.net"},
		{"TABLES_NAME", "TABLES_NAME", "my-table"},
		{"TABLES_CONNECTION_STRING", "TABLES_CONNECTION_STRING", "AccountName=x"},
		{"KEY_VAULT_KEY_URL", "TABLES_CONNECTION_STRING", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=KKKKKKKK;EndpointSuffix=core.windows.net"},
		{"MASTER_KEY", "MASTER_KEY", "too short"},
		{"MASTER_KEY_PREVIOUS", "MASTER_KEY_PREVIOUS", strings.Repeat("a", 40)},
		{"KEY_VAULT_KEY_URL", "KEY_VAULT_KEY_URL", "https://v.vault.azure.net"},
	} {
		var env []string
		names, values := strings.Split(tt[1], ","), strings.SplitN(tt[2], ",", strings.Count(tt[1], ",")+1)
		for i, name := range names {
			env = append(env, name, values[i])
		}
		_, err := Load(valid(env...))
		var problems Problems
		if !errors.As(err, &problems) || !slices.ContainsFunc(problems, func(p Problem) bool { return p.Name == tt[0] && p.Wrong != "" && p.Write != "" }) {
			t.Errorf("%s=%q: want a problem with %s, got %v", tt[1], tt[2], tt[0], err)
		}
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	_, err := Load(func(n string) string { return map[string]string{"PORT": "x", "PUBLIC_URL": "y"}[n] })
	for _, name := range []string{"PORT", "PUBLIC_URL", "ENTRA_TENANT_ID", "ENTRA_CLIENT_ID", "ENTRA_CLIENT_SECRET"} {
		if err == nil || strings.Count("\n"+err.Error(), "\n"+name+" ") != 1 {
			t.Errorf("%s is not reported once in:\n%v", name, err)
		}
	}
}

func TestPostureShowsNoSecret(t *testing.T) {
	c, err := Load(valid("MASTER_KEY", "MMMM"+testMasterKey, "MASTER_KEY_PREVIOUS", "PPPP"+testMasterKey,
		"TABLES_CONNECTION_STRING", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=KKKKKKKK;EndpointSuffix=core.windows.net", "ENTRA_CLIENT_CERTIFICATE_PASSWORD", "pfx-pass"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("start", "config", c, "entra", c.Entra, "keys", c.Keys, "store", c.Store)
	fmt.Fprintf(&out, "%v %+v %s", c.Entra.ClientSecret, c.Keys, c.Store.ConnectionString)
	for _, secret := range []string{"s3cr3t", "MMMM", "PPPP", "KKKK", "pfx-pass"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s… is in the log: %s", secret, out.String())
		}
	}
}

func TestAMistakeIsReportedOnceAndShowsNoSecret(t *testing.T) {
	_, err := Load(valid("MASTER_KEY", "hush-hush", "TABLES_CONNECTION_STRING", "AccountKey=hush-hush", "PUBLIC_URL", "https://u:hush-hush@mcp.example.com"))
	if err == nil || strings.Contains(err.Error(), "hush-hush") {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"MASTER_KEY", "TABLES_CONNECTION_STRING", "PUBLIC_URL"} {
		if strings.Count("\n"+err.Error(), "\n"+name+" ") != 1 {
			t.Errorf("%s is not reported once in:\n%v", name, err)
		}
	}
}

func TestPublicURLHasOneForm(t *testing.T) {
	for written, want := range map[string]string{
		"https://MCP.Example.com:443/":         "https://mcp.example.com",
		"https://mcp.example.com:8443":         "https://mcp.example.com:8443",
		"http://localhost:80":                  "http://localhost",
		"http://[::1]:7071/":                   "http://[::1]:7071",
		"https://gw.example/tools/":            "https://gw.example/tools",
		"https://gw.example:443/Team-A/tools_": "https://gw.example/Team-A/tools_",
	} {
		c, err := Load(valid("PUBLIC_URL", written))
		if err != nil || c.Issuer != want || string(c.Resource) != want+"/mcp" || !strings.HasSuffix(c.Issuer, c.BasePath) {
			t.Errorf("%s: issuer %s, resource %s, base path %s, %v; want %s", written, c.Issuer, c.Resource, c.BasePath, err, want)
		}
		if c.SharedHost != (c.BasePath != "") {
			t.Errorf("%s: shared host %v", written, c.SharedHost)
		}
	}
	if c, err := Load(valid("PUBLIC_URL", "https://gw.example/tools", "PUBLIC_HOST", "own")); err != nil || c.SharedHost {
		t.Errorf("the operator's word: %v %v", c.SharedHost, err)
	}
}

func TestInAzureThePublicURLIsNotThisComputer(t *testing.T) {
	_, err := Load(valid("WEBSITE_HOSTNAME", "f.azurewebsites.net", "TABLES_URL", "https://a.table.core.windows.net", "MASTER_KEY", testMasterKey, "PUBLIC_URL", "http://localhost:7071"))
	if err == nil || !strings.Contains(err.Error(), "PUBLIC_URL") {
		t.Errorf("got %v", err)
	}
}

func TestValuesAreReadAsPeopleWriteThem(t *testing.T) {
	for _, level := range []string{"WARNING", "warn", "Warning", " WARN "} {
		if c, err := Load(valid("LOG_LEVEL", level)); err != nil || c.LogLevel != slog.LevelWarn {
			t.Errorf("LOG_LEVEL=%s: %v, %v", level, c.LogLevel, err)
		}
	}
	for _, scopes := range []string{`["read", "write"]`, "read,write", "read write", " read,\n write, "} {
		if c, err := Load(valid("FASTMCP_SERVER_AUTH_AZURE_REQUIRED_SCOPES", scopes)); err != nil || c.RequiredScopes.String() != "read write" {
			t.Errorf("REQUIRED_SCOPES=%q: %v, %v", scopes, c.RequiredScopes, err)
		}
	}
	for _, origins := range []string{"https://app.example.com,https://b.example", "https://APP.example.com:443/ https://b.example", "https://app.example.com,\n https://b.example, "} {
		if c, err := Load(valid("ALLOWED_ORIGINS", origins)); err != nil || !slices.Equal(c.AllowedOrigins, []string{"https://app.example.com", "https://b.example"}) {
			t.Errorf("ALLOWED_ORIGINS=%q: %v, %v", origins, c.AllowedOrigins, err)
		}
	}
	c, err := Load(valid("TRUSTED_PROXIES", "10.1.2.3/8, 192.0.2.1 fd00::/8", "LISTEN_ADDRESS", "[::]"))
	if err != nil || fmt.Sprint(c.TrustedProxies) != "[10.0.0.0/8 192.0.2.1/32 fd00::/8]" || c.ListenAddress.String() != "::" {
		t.Errorf("TRUSTED_PROXIES %v, LISTEN_ADDRESS %v, %v", c.TrustedProxies, c.ListenAddress, err)
	}
}

func TestTheGraceShrinksWithTheAccessToken(t *testing.T) {
	for _, tt := range []struct{ lifetime, grace, want string }{
		{"30m", "", "1m0s"},
		{"1m", "", "30s"},
		{"20m", "9m", "9m0s"},
		{"1h", "10m", "10m0s"},
	} {
		c, err := Load(valid("ACCESS_TOKEN_LIFETIME", tt.lifetime, "REFRESH_GRACE", tt.grace))
		if err != nil || c.RefreshGrace.String() != tt.want {
			t.Errorf("%s, %s: %s, %v; want %s", tt.lifetime, tt.grace, c.RefreshGrace, err, tt.want)
		}
	}
}

func TestOtherNamesOfThePythonServerAreNamed(t *testing.T) {
	const prefix = "FASTMCP_SERVER_AUTH_AZURE_"
	c, err := Load(valid(prefix+"IDENTIFIER_URI", "api://x", prefix+"ADDITIONAL_AUTHORIZE_SCOPES", "User.Read", prefix+"JWT_SIGNING_KEY", "k"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"IDENTIFIER_URI", "ADDITIONAL_AUTHORIZE_SCOPES", "JWT_SIGNING_KEY"} {
		if !strings.Contains(c.Notices.Error(), prefix+name+" has no effect") {
			t.Errorf("%s is ignored without a word: %v", name, c.Notices)
		}
	}
}

func TestCloudFollowsTheAuthorityInAnySpelling(t *testing.T) {
	for authority, want := range map[string][2]string{
		"":                                      {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
		"https://Login.MicrosoftOnline.us/":     {"https://login.microsoftonline.us", "https://graph.microsoft.us"},
		"https://login.chinacloudapi.cn":        {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"},
		"https://contoso.ciamlogin.com":         {"https://contoso.ciamlogin.com", "https://graph.microsoft.com"},
		"http://localhost:7072":                 {"http://localhost:7072", "http://localhost:7072"},
		"https://login.microsoftonline.com:443": {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
	} {
		c, err := Load(valid("ENTRA_AUTHORITY", authority))
		if err != nil || c.Entra.Authority != want[0] || c.Entra.GraphURL != want[1] {
			t.Errorf("%q: %s, %s, %v", authority, c.Entra.Authority, c.Entra.GraphURL, err)
		}
	}
}

func TestCallersWithEntrasTokensAreOffUntilSaid(t *testing.T) {
	c, err := Load(valid())
	if err != nil || c.Entra.AppRole != "" || c.Entra.Clients != nil || c.Entra.ResourceURI {
		t.Errorf("by default: %+v, %v", c.Entra, err)
	}
	c, err = Load(valid("ENTRA_APP_CALLERS", "roles", "ENTRA_CLIENTS", "AB3BE6B7-f5df-413d-ac2d-abf1e3fd9c0b", "ENTRA_RESOURCE_URI", "on", "ENTRA_CLIENT_SECRET_EXPIRES", "2027-05-31"))
	if err != nil || c.Entra.AppRole != "Mcp.Invoke" || !slices.Equal(c.Entra.Clients, []string{"ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b"}) || !c.Entra.ResourceURI ||
		c.Entra.SecretExpires.Format(time.DateOnly) != "2027-05-31" {
		t.Errorf("got %+v, %v", c.Entra, err)
	}
}

// TestEveryNameOfThePythonServerIsMapped: what a settings file of it may hold is in
// docs/from-fastmcp.md, with our name or the reason why there is none.
func TestEveryNameOfThePythonServerIsMapped(t *testing.T) {
	page, err := os.ReadFile("../../docs/from-fastmcp.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range Settings {
		if s.Alias != "" {
			names = append(names, s.Alias)
		}
	}
	for _, s := range notSupported {
		names = append(names, s.Name)
	}
	if len(names) < 14 {
		t.Errorf("only %d names", len(names))
	}
	for _, name := range names {
		if short := strings.TrimPrefix(name, pythonPrefix); !strings.Contains(string(page), "`"+short+"`") {
			t.Errorf("%s is not in docs/from-fastmcp.md", short)
		}
	}
}
