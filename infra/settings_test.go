package infra

import (
	"maps"
	"os"
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
	"PORT":                               "for runs without a host",
	"DATA_DIR":                           "the embedded store is not for Azure",
	"TABLES_CONNECTION_STRING":           "holds a key; the identity needs none",
	"MASTER_KEY":                         "Key Vault wraps the key ring",
	"MASTER_KEY_PREVIOUS":                "as MASTER_KEY",
	"ENTRA_CLIENT_CERTIFICATE_PATH":      "a file, and the package holds none",
	"ENTRA_CLIENT_CERTIFICATE_PASSWORD":  "as ENTRA_CLIENT_CERTIFICATE_PATH",
	"LISTEN_ADDRESS":                     "the host calls on loopback",
	"LOG_FORMAT":                         "the queries of alerts and workbook read JSON",
	"LOCAL_SETTINGS":                     "for runs without Azure",
	"SWEEP_INTERVAL":                     "the default suits",
	"REQUESTS_PER_ADDRESS":               "as GRANT_LIFETIME",
	"REGISTRATIONS_PER_ADDRESS":          "as GRANT_LIFETIME",
	"SIGN_INS_PER_ADDRESS":               "as GRANT_LIFETIME",
	"FETCHES_PER_ADDRESS":                "as GRANT_LIFETIME",
	"FAILED_ASSERTIONS_PER_ADDRESS":      "as GRANT_LIFETIME",
	"CALLS_PER_USER":                     "as GRANT_LIFETIME",
	"CALLS_PER_TOOL":                     "as GRANT_LIFETIME",
	"CALLS_PER_TENANT":                   "as GRANT_LIFETIME",
	"TOOL_DEADLINE":                      "the default suits",
	"FASTMCP_SERVER_AUTH_AZURE_anything": "other names for the above",
}

// settings are the app settings that the template writes.
func settings(t *testing.T, d *deployment) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, v := range d.one(t, "Microsoft.Web/sites/config").at("properties").(map[string]any) {
		if out[name], _ = v.(string); out[name] == "" {
			t.Errorf("the setting %s is empty", name)
		}
	}
	return out
}

// inAzure adds what the platform sets.
func inAzure(d *deployment, t *testing.T, s scenario) map[string]string {
	env := settings(t, d)
	env["WEBSITE_HOSTNAME"] = d.one(t, "Microsoft.Web/sites").name + map[string]string{"AzureCloud": ".azurewebsites.net", "AzureUSGovernment": ".azurewebsites.us"}[s.cloud]
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = "40123"
	if strings.HasPrefix(env["ENTRA_CLIENT_SECRET"], "@Microsoft.KeyVault(") {
		env["ENTRA_CLIENT_SECRET"] = "what the vault holds"
	}
	return env
}

// TestHandlerReadsWhatBicepWrites: no setting is written that nobody reads, and
// each that the handler reads can be set.
func TestHandlerReadsWhatBicepWrites(t *testing.T) {
	read := map[string]bool{}
	written := map[string]bool{}
	for name := range parameterFile(t)["serverSettings"].(map[string]any) {
		written[name] = true
	}
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		env := inAzure(d, t, s)
		if _, err := config.Load(func(name string) string { read[name] = true; return env[name] }); err != nil {
			t.Fatalf("the handler refuses the settings:\n%v", err)
		}
		for name := range env {
			written[name] = true
			if strings.HasPrefix(name, "FUNCTIONS_WORKER") || name == "FUNCTIONS_EXTENSION_VERSION" {
				t.Errorf("Flex Consumption refuses the setting %s", name)
			}
		}
	})
	// A name may be read in one branch only.
	_, _ = config.Load(func(name string) string { read[name] = true; return "" })
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if !read[name] && !slices.Contains(hostOnly, name) {
			t.Errorf("%s is written and nobody reads it", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		if !written[name] && notWritten[name] == "" && !strings.HasPrefix(name, "FASTMCP_SERVER_AUTH_AZURE_") {
			t.Errorf("the handler reads %s: add it to serverSettings in main.parameters.json", name)
		}
	}
}

func TestHandlerRunsOnWhatBicepWrites(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		env := inAzure(d, t, s)
		cfg, err := config.Load(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		suffixes := clouds[s.cloud]["suffixes"].(map[string]any)
		got := signIn{issuer: cfg.Issuer, tenant: cfg.Entra.TenantID, client: cfg.Entra.ClientID,
			identity: cfg.Entra.ManagedIdentityClientID, apiScope: cfg.Entra.APIScope, authority: cfg.Entra.Authority}
		if want := s.signsIn(env["WEBSITE_HOSTNAME"]); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		for _, c := range []struct{ what, got, want string }{
			{"tables", cfg.Store.TablesURL, "https://" + d.one(t, "Microsoft.Storage/storageAccounts").name + ".table." + str(suffixes["storage"])},
			{"table", cfg.Store.TableName, d.one(t, "Microsoft.Storage/storageAccounts/tableServices/tables").name},
			{"key", cfg.Keys.VaultKeyURL, "https://" + d.one(t, "Microsoft.KeyVault/vaults").name + str(suffixes["keyvaultDns"]) + "/keys/ring"},
		} {
			if c.got != c.want {
				t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
			}
		}
		if !cfg.InAzure || !cfg.Hosted {
			t.Error("the handler does not see that it is in Azure")
		}
		callback := cfg.Issuer + cfg.RedirectPath
		if !slices.Contains(strings.Fields(str(d.outputs["ENTRA_REDIRECT_URIS"])), callback) {
			t.Errorf("%s is no redirect URI of the app registration", callback)
		}
		if got.identity == "" {
			return
		}
		// The client takes the scope qualified by the client id, the one form
		// in which Entra grants an application a token for itself.
		if _, err := entra.New(entra.Config{Tenant: cfg.Entra.TenantID, ClientID: cfg.Entra.ClientID, Authority: cfg.Entra.Authority,
			ManagedIdentityClientID: cfg.Entra.ManagedIdentityClientID, AllowedTenants: cfg.Entra.AllowedTenants, APIScope: cfg.Entra.APIScope, RedirectURI: callback}, entra.Deps{}); err != nil {
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
	parsed := parsedTemplate(t)
	s := scenarios()[1]
	s.env["MCP_ALLOWED_ORIGINS"] = "*"
	d := deploy(t, parsed, s)
	env := inAzure(d, t, s)
	if _, err := config.Load(func(name string) string { return env[name] }); err == nil || !regexp.MustCompile(`ALLOWED_ORIGINS.*not an origin`).MatchString(err.Error()) {
		t.Errorf("got %v", err)
	}
}

// TestOperatorCommandsFindTheTable: the variables that docs/deploy.md exports,
// from the outputs it takes them from, are the configuration of the commands.
func TestOperatorCommandsFindTheTable(t *testing.T) {
	outputs := deploy(t, parsedTemplate(t), scenarios()[1]).outputs
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PUBLIC_URL": strings.TrimSuffix(str(outputs["MCP_URL"]), "/mcp"), "LOCAL_SETTINGS": "none"}
	for _, name := range []string{"TABLES_URL", "KEY_VAULT_KEY_URL"} {
		env[name] = str(outputs[name])
		if !strings.Contains(string(docs), name+"=$(azd env get-value "+name+")") {
			t.Errorf("docs/deploy.md does not export %s", name)
		}
	}
	if !strings.Contains(string(docs), "PUBLIC_URL=$(azd env get-value MCP_URL | sed 's,/mcp$,,') LOCAL_SETTINGS=none\n") {
		t.Error("docs/deploy.md does not export PUBLIC_URL and LOCAL_SETTINGS")
	}
	cfg, err := config.LoadStore(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Store.TablesURL != strings.TrimSuffix(str(outputs["TABLES_URL"]), "/") || cfg.Keys.VaultKeyURL == "" || cfg.InAzure {
		t.Errorf("%+v", cfg.LogValue())
	}
}

// TestDocsNameOutputs: "azd env get-value" fails for what is no output.
func TestDocsNameOutputs(t *testing.T) {
	outputs := parsedTemplate(t)["main.bicep"].outputs
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("azd env get-value ([A-Z_]+)").FindAllStringSubmatch(string(docs), -1)
	for _, m := range found {
		if outputs[m[1]] == nil {
			t.Errorf("docs/deploy.md reads %s, which is no output", m[1])
		}
	}
	if len(found) < 8 {
		t.Errorf("only %d outputs found", len(found))
	}
}
