package config

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

const testClientID = "11111111-2222-3333-4444-555555555555"

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
		c.Store.Embedded(), c.Store.DataDir, c.Entra.Authority, c.Entra.GraphURL, c.AccessTokenLifetime, c.RefreshLifetime, c.ClientMetadataHosts))
	want := "7071 false false http://localhost:7071 http://localhost:7071/mcp /auth/callback email openid profile 8s " +
		"true .data https://login.microsoftonline.com https://graph.microsoft.com 30m0s 2160h0m0s [*]"
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
	if c.Entra.ClientID != testClientID || c.Entra.ClientSecret != "s3cr3t-value" || c.Entra.TenantID != env["FASTMCP_SERVER_AUTH_AZURE_TENANT_ID"] ||
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
		{[]string{"WEBSITE_HOSTNAME", "f.azurewebsites.net", "TABLES_URL", "https://a.table.core.windows.net", "MASTER_KEY", strings.Repeat("k", 32)}, "https://f.azurewebsites.net", true},
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
		{"PUBLIC_URL", "PUBLIC_URL", "https://mcp.example.com/api"},
		{"PUBLIC_URL", "PUBLIC_URL", "mcp.example.com"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/token"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "auth"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/auth/../mcp"},
		{"REDIRECT_PATH", "REDIRECT_PATH", "/admin/callback"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "soon"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "NaN"},
		{"TIMEOUT_SECONDS", "TIMEOUT_SECONDS", "-1"},
		{"ACCESS_TOKEN_LIFETIME", "ACCESS_TOKEN_LIFETIME", "forever"},
		{"REFRESH_LIFETIME", "REFRESH_LIFETIME", "99999d"},
		{"LOG_LEVEL", "LOG_LEVEL", "loud"},
		{"ALLOWED_ORIGINS", "ALLOWED_ORIGINS", "app.example.com"},
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
		{"GRAPH_URL", "GRAPH_URL", "http://graph.example.com"},
		{"TABLES_URL", "TABLES_URL", "http://a.table.core.windows.net"},
		{"TABLES_URL", "WEBSITE_HOSTNAME", "f.azurewebsites.net"},
		{"TABLES_NAME", "TABLES_NAME", "my-table"},
		{"KEY_VAULT_KEY_URL", "TABLES_CONNECTION_STRING", "AccountName=x"},
		{"KEY_VAULT_KEY_URL", "KEY_VAULT_KEY_URL", "https://v.vault.azure.net"},
	} {
		_, err := Load(valid(tt[1], tt[2]))
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
	c, err := Load(valid("MASTER_KEY", strings.Repeat("M", 40), "MASTER_KEY_PREVIOUS", strings.Repeat("P", 40),
		"TABLES_CONNECTION_STRING", "AccountName=a;AccountKey=KKKK", "ENTRA_CLIENT_CERTIFICATE_PASSWORD", "pfx-pass"))
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
