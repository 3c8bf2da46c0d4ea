package entra

import (
	"strings"
	"testing"
)

func TestEveryConfigurationMistakeIsReportedAtOnce(t *testing.T) {
	_, err := New(Config{
		Tenant: "not a tenant", ClientID: "nope", Authority: "http://login.example.com", RedirectURI: "http://example.com/cb",
		APIScope: "mcp.access", AllowedTenants: []string{"contoso"},
	}, Deps{})
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, name := range []string{
		"ENTRA_TENANT_ID", "ENTRA_CLIENT_ID", "ENTRA_AUTHORITY", "ENTRA_API_SCOPE", "ENTRA_ALLOWED_TENANTS",
		"ENTRA_CLIENT_SECRET", "ENTRA_CLIENT_CERTIFICATE_PATH", "ENTRA_MANAGED_IDENTITY_CLIENT_ID", "redirect URI",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

func TestConfigurationRules(t *testing.T) {
	good := Config{Tenant: testTenant, ClientID: testClient, Secret: "s", RedirectURI: "https://mcp.example.com/auth/callback"}
	for name, test := range map[string]struct {
		change func(*Config)
		fault  string // empty: accepted
	}{
		"one tenant":                     {func(*Config) {}, ""},
		"domain":                         {func(c *Config) { c.Tenant = "contoso.onmicrosoft.com" }, ""},
		"government cloud":               {func(c *Config) { c.Authority = USGovCloud + "/" }, ""},
		"loopback":                       {func(c *Config) { c.Authority, c.RedirectURI = "http://127.0.0.1:7072", "http://localhost:8080/cb" }, ""},
		"scope by client id":             {func(c *Config) { c.APIScope = testClient + "/mcp.access" }, ""},
		"many tenants without a list":    {func(c *Config) { c.Tenant = "organizations" }, "ENTRA_ALLOWED_TENANTS"},
		"common without a list":          {func(c *Config) { c.Tenant = "Common" }, "ENTRA_ALLOWED_TENANTS"},
		"every tenant, said out loud":    {func(c *Config) { c.Tenant, c.AllowedTenants = "common", []string{"*"} }, ""},
		"personal accounts":              {func(c *Config) { c.Tenant = "consumers" }, ""},
		"two credentials":                {func(c *Config) { c.CertificatePath = "x.pem" }, "exactly one"},
		"authority with a path":          {func(c *Config) { c.Authority = PublicCloud + "/common" }, "ENTRA_AUTHORITY"},
		"tenant with a path":             {func(c *Config) { c.Tenant = "contoso.com/../x" }, "ENTRA_TENANT_ID"},
		"two scopes":                     {func(c *Config) { c.APIScope = testScope + " User.Read" }, "ENTRA_API_SCOPE"},
		"redirect URI in the open":       {func(c *Config) { c.RedirectURI = "http://mcp.example.com/cb" }, "redirect URI"},
		"allowed tenant that is no GUID": {func(c *Config) { c.AllowedTenants = []string{"fabrikam.com"} }, "ENTRA_ALLOWED_TENANTS"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			test.change(&cfg)
			_, err := New(cfg, Deps{})
			if test.fault == "" && err != nil {
				t.Fatal(err)
			}
			if test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("got %v, want it to name %s", err, test.fault)
			}
		})
	}
}
