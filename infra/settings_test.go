package infra

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"entramcp/handler/config"
	"entramcp/handler/entra"
)

// hostOnly are the settings that the Functions host reads, not the handler.
var hostOnly = []string{
	"APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
	"APPLICATIONINSIGHTS_CONNECTION_STRING",
	"AzureWebJobsDisableHomepage",
	"AzureWebJobsStorage__blobServiceUri",
	"AzureWebJobsStorage__clientId",
	"AzureWebJobsStorage__credential",
}

// notWritten are the settings that the handler reads and the template leaves
// alone, each with the reason.
var notWritten = map[string]string{
	"FUNCTIONS_CUSTOMHANDLER_PORT":       "the host's",
	"WEBSITE_HOSTNAME":                   "the platform's",
	"PORT":                               "for runs without the host",
	"TENANT_PORT":                        "for runs with the simulated tenant",
	"DATA_DIR":                           "the embedded store is for one computer",
	"TABLES_CONNECTION_STRING":           "a secret; the identity needs none",
	"MASTER_KEY":                         "a secret; Key Vault wraps the ring",
	"MASTER_KEY_PREVIOUS":                "as MASTER_KEY",
	"ENTRA_CLIENT_SECRET":                "a secret; the credential is federated",
	"ENTRA_CLIENT_CERTIFICATE_PATH":      "as ENTRA_CLIENT_SECRET",
	"ENTRA_CLIENT_CERTIFICATE_PASSWORD":  "as ENTRA_CLIENT_SECRET",
	"ENTRA_ALLOWED_TENANTS":              "the app registration is for one tenant",
	"GRAPH_URL":                          "follows from ENTRA_AUTHORITY",
	"PINNED_CLIENTS":                     "a file, and the package holds none",
	"REQUIRED_SCOPES":                    "the default is right with this app registration",
	"TIMEOUT_SECONDS":                    "the default suits every client",
	"PUBLIC_HOST":                        "the host is the app's alone",
	"LISTEN_ADDRESS":                     "the host calls on loopback",
	"TRUSTED_PROXIES":                    "the platform appends the client's address",
	"REFRESH_GRACE":                      "the default suits every client",
	"GRANT_LIFETIME":                     "as an operator decides later",
	"ENTRA_RECHECK":                      "as GRANT_LIFETIME",
	"ENTRA_PROMPT":                       "the default is right",
	"ENTRA_DOMAIN_HINT":                  "as an operator decides later",
	"CONSENT":                            "the default is right",
	"CLIENT_ASSERTION_AUDIENCE":          "the default suits every client",
	"LOG_FORMAT":                         "JSON is what the log queries read",
	"AUDIT_OBJECT_IDS":                   "off unless an operator decides otherwise",
	"LOCAL_SETTINGS":                     "for runs without Azure",
	"SWEEP_INTERVAL":                     "the default suits",
	"FASTMCP_SERVER_AUTH_AZURE_anything": "other names for the above",
}

// settings are the app settings that the template writes.
func settings(t *testing.T, d *deployment) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, v := range d.one(t, "Microsoft.Web/sites/config").at("properties").(map[string]any) {
		out[name], _ = v.(string)
	}
	return out
}

// inAzure adds what the platform sets.
func inAzure(d *deployment, t *testing.T, s scenario) map[string]string {
	env := settings(t, d)
	env["WEBSITE_HOSTNAME"] = d.one(t, "Microsoft.Web/sites").name + map[string]string{"AzureCloud": ".azurewebsites.net", "AzureUSGovernment": ".azurewebsites.us"}[s.cloud]
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = "40123"
	return env
}

func TestHandlerReadsWhatBicepWrites(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		env := inAzure(d, t, s)
		read := map[string]bool{}
		if _, err := config.Load(func(name string) string { read[name] = true; return env[name] }); err != nil {
			t.Fatalf("the handler refuses the settings:\n%v", err)
		}
		// A name may be read in one branch only.
		_, _ = config.Load(func(name string) string { read[name] = true; return "" })
		for _, name := range slices.Sorted(maps.Keys(settings(t, d))) {
			if !read[name] && !slices.Contains(hostOnly, name) {
				t.Errorf("%s is written and nobody reads it", name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(read)) {
			if _, written := env[name]; written || notWritten[name] != "" || strings.HasPrefix(name, "FASTMCP_SERVER_AUTH_AZURE_") {
				continue
			}
			t.Errorf("the handler reads %s, which the template neither writes nor leaves alone for a reason", name)
		}
		for name := range env {
			if strings.HasPrefix(name, "FUNCTIONS_WORKER") || name == "FUNCTIONS_EXTENSION_VERSION" {
				t.Errorf("Flex Consumption refuses the setting %s", name)
			}
		}
	})
}

func TestHandlerRunsOnWhatBicepWrites(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		env := inAzure(d, t, s)
		cfg, err := config.Load(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		issuer := "https://" + env["WEBSITE_HOSTNAME"]
		if s.env["PUBLIC_URL"] != "" {
			issuer = "https://mcp.example.com"
		}
		vault := d.one(t, "Microsoft.KeyVault/vaults").name
		for _, c := range []struct{ what, got, want string }{
			{"issuer", cfg.Issuer, issuer},
			{"tenant", cfg.Entra.TenantID, tenantID},
			{"client id", cfg.Entra.ClientID, applicationClient},
			{"credential", cfg.Entra.ManagedIdentityClientID, identityClient},
			{"API scope", cfg.Entra.APIScope, applicationClient + "/mcp.access"},
			{"tables", cfg.Store.TablesURL, "https://" + d.one(t, "Microsoft.Storage/storageAccounts").name + ".table." + clouds[s.cloud]["suffixes"].(map[string]any)["storage"].(string)},
			{"table", cfg.Store.TableName, d.one(t, "Microsoft.Storage/storageAccounts/tableServices/tables").name},
			{"key", cfg.Keys.VaultKeyURL, "https://" + vault + clouds[s.cloud]["suffixes"].(map[string]any)["keyvaultDns"].(string) + "/keys/ring"},
			{"authority", cfg.Entra.Authority + "/", clouds[s.cloud]["authentication"].(map[string]any)["loginEndpoint"].(string)},
		} {
			if c.got != c.want {
				t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
			}
		}
		if !cfg.InAzure || !cfg.Hosted {
			t.Error("the handler does not see that it is in Azure")
		}
		callback := cfg.Issuer + cfg.RedirectPath
		if !slices.Contains(d.one(t, "Microsoft.Graph/applications").at("web.redirectUris").([]any), any(callback)) {
			t.Errorf("%s is no redirect URI of the app registration", callback)
		}
		// The client takes the scope qualified by the client id, the one form
		// in which Entra grants an application a token for itself.
		if _, err := entra.New(entra.Config{Tenant: cfg.Entra.TenantID, ClientID: cfg.Entra.ClientID, Authority: cfg.Entra.Authority,
			ManagedIdentityClientID: cfg.Entra.ManagedIdentityClientID, APIScope: cfg.Entra.APIScope, RedirectURI: callback}, entra.Deps{}); err != nil {
			t.Error(err)
		}
	})
}

// TestOriginsAgree: the platform answers preflights from its list and the
// handler refuses origins that are not in its own.
func TestOriginsAgree(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		env := inAzure(d, t, s)
		cfg, err := config.Load(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		var platform []string
		for _, o := range d.one(t, "Microsoft.Web/sites").at("properties.siteConfig.cors.allowedOrigins").([]any) {
			platform = append(platform, o.(string))
		}
		if !slices.Equal(platform, cfg.AllowedOrigins) {
			t.Errorf("platform %v, handler %v", platform, cfg.AllowedOrigins)
		}
	})
}

// TestWildcardOriginIsRefused: the parameter's description says so.
func TestWildcardOriginIsRefused(t *testing.T) {
	parsed := parseAll(t, readSources(t))[0]
	s := scenarios()[1]
	s.env["ALLOWED_ORIGINS"] = "*"
	d, _ := deploy(t, parsed, s)
	env := inAzure(d, t, s)
	if _, err := config.Load(func(name string) string { return env[name] }); err == nil || !regexp.MustCompile(`ALLOWED_ORIGINS.*not an origin`).MatchString(err.Error()) {
		t.Errorf("got %v", err)
	}
}
