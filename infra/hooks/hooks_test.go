package main

import (
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPreflightRefuses: what would fail after half of the resources exist, or
// would mean something else than it says, is refused with its remedy.
func TestPreflightRefuses(t *testing.T) {
	const own = "41000000-1111-2222-3333-444444444444"
	for _, c := range []struct {
		name string
		env  map[string]string
		az   answers
		want string
		more int // refusals beside the one
	}{
		{"a bool that azd takes for false", map[string]string{"MCP_ASSIGNMENT_REQUIRED": "yes"}, nil, `MCP_ASSIGNMENT_REQUIRED is "yes", which azd takes for false`, 0},
		{"another", map[string]string{"MCP_VIRTUAL_NETWORK": "on"}, nil, "azd env set MCP_VIRTUAL_NETWORK true", 0},
		{"a number that is none", map[string]string{"MCP_ALWAYS_READY_INSTANCES": "two"}, nil, `MCP_ALWAYS_READY_INSTANCES is "two"`, 0},
		{"a number out of range", map[string]string{"MCP_MAXIMUM_INSTANCES": "0"}, nil, "MCP_MAXIMUM_INSTANCES is 0; it is from 1 to 1000", 0},
		{"a memory size that does not exist", map[string]string{"MCP_INSTANCE_MEMORY_MB": "1024"}, nil, "one of 512, 2048, 4096", 0},
		{"a storage redundancy that does not exist", map[string]string{"MCP_STORAGE_SKU": "LRS"}, nil, "one of Standard_LRS, Standard_ZRS", 0},
		{"a region that is not in the template", map[string]string{"AZURE_LOCATION": "westgermany"}, nil, `AZURE_LOCATION is "westgermany"; it is one of australiaeast`, 1},
		{"a name that no resource group may have", map[string]string{"AZURE_ENV_NAME": "foo."}, nil, `AZURE_ENV_NAME is "foo."`, 0},
		{"a quotation mark", map[string]string{"MCP_ALERT_EMAIL": `"ops"@example.com`}, nil, "MCP_ALERT_EMAIL holds a quotation mark", 0},
		{"an id that is no GUID", map[string]string{"MCP_INVOKE_PRINCIPALS": "pipeline"}, nil, `MCP_INVOKE_PRINCIPALS names "pipeline", which is not a GUID`, 0},
		{"an address that is none", map[string]string{"MCP_ALERT_EMAIL": "ops"}, nil, `MCP_ALERT_EMAIL is "ops"`, 0},
		{"closed without a network", map[string]string{"MCP_PRIVATE_ONLY": "true"}, nil, "azd env set MCP_VIRTUAL_NETWORK true", 0},
		{"one address without a network", map[string]string{"MCP_FIXED_EGRESS": "true"}, nil, "MCP_FIXED_EGRESS is set, and MCP_VIRTUAL_NETWORK is not", 0},
		{"zones with storage in one", map[string]string{"MCP_ZONE_REDUNDANT": "true", "AZURE_LOCATION": "northeurope"}, nil, "azd env set MCP_STORAGE_SKU Standard_ZRS", 0},
		{"a tenant without its registration", map[string]string{"MCP_ENTRA_TENANT_ID": own}, nil, "MCP_ENTRA_CLIENT_ID is not", 0},
		{"roles for a registration of one's own", map[string]string{"MCP_ENTRA_CLIENT_ID": own, "MCP_MANAGE_PRINCIPALS": own}, nil, "its administrator sets this there", 0},
		{"a lifetime that the server refuses", map[string]string{"MCP_ACCESS_TOKEN_LIFETIME": "1y"}, nil, `MCP_ACCESS_TOKEN_LIFETIME is "1y"`, 0},
		{"a wildcard origin", map[string]string{"MCP_ALLOWED_ORIGINS": "*"}, nil, "MCP_ALLOWED_ORIGINS", 0},
		{"every tenant, unsaid", map[string]string{"MCP_MULTI_TENANT": "true"}, nil, "MCP_ENTRA_ALLOWED_TENANTS is not set", 0},
		{"a URL without TLS", map[string]string{"MCP_PUBLIC_URL": "http://mcp.example.com"}, nil, "MCP_PUBLIC_URL", 0},
		{"a domain that is not there yet", map[string]string{"MCP_PUBLIC_URL": "https://mcp.invalid"}, nil, "DNS does not know mcp.invalid", 0},

		{"a region that Azure does not offer", map[string]string{"AZURE_LOCATION": "eastus"}, nil, "Flex Consumption is not offered in eastus; it is in westeurope, northeurope", 0},
		{"a region without zones", map[string]string{"MCP_ZONE_REDUNDANT": "true", "MCP_STORAGE_SKU": "Standard_ZRS"}, nil, "not offered in westeurope with availability zones", 0},
		{"a deleted vault", nil, answers{"keyvault list-deleted": `[{"name":"` + vault + `"}]`}, "azd env set MCP_RECOVER_KEY_VAULT true", 0},
		{"a vault to recover that is not deleted", map[string]string{"MCP_RECOVER_KEY_VAULT": "true"}, nil, "azd env set MCP_RECOVER_KEY_VAULT false", 0},
		{"a deleted registration", nil, answers{"rest --method GET --headers ConsistencyLevel=eventual": `{"value":[{"id":"o-1","appId":"` + own + `","uniqueName":"` + site + `"}]}`},
			"az rest --method DELETE --url https://graph.microsoft.com/v1.0/directory/deletedItems/o-1", 0},
		{"no right to assign roles", nil, rights(`{"actions":["*"],"notActions":["Microsoft.Authorization/*/Delete","Microsoft.Authorization/*/Write"]}`), "you may not assign roles", 0},
		{"no right to deploy", nil, rights(`{"actions":["*/read"],"notActions":[]}`), "you may not deploy to this subscription", 1},
		{"a provider for the network", map[string]string{"MCP_VIRTUAL_NETWORK": "true"}, unregistered("App"), "az provider register --wait --namespace Microsoft.App --subscription " + subscription, 0},
		{"a provider that one may not register", nil, merge(unregistered("Web"), rights(`{"actions":["Microsoft.Resources/*","Microsoft.Authorization/roleAssignments/*"],"notActions":[]}`)), "az provider register --wait --namespace Microsoft.Web", 0},
		{"no right to register applications", nil, roles(`{"value":[]}`), "go run ./infra/hooks registration", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			printed, status := hook(t, "preprovision", c.env, map[string]answers{"az": merge(signedIn(), c.az)}, http.DefaultClient)
			if status != 1 || !strings.Contains(printed, c.want) || strings.Count(printed, "refused ") != 1+c.more {
				t.Errorf("status %d, want 1 and one refusal that says %q:\n%s", status, c.want, printed)
			}
		})
	}
}

func merge(all ...answers) answers {
	out := answers{}
	for _, a := range all {
		maps.Copy(out, a)
	}
	return out
}

func rights(role string) answers {
	return answers{rest("GET", "https://management.azure.com/subscriptions/"+subscription+"/providers/Microsoft.Authorization/permissions"): `{"value":[` + role + `]}`}
}

func unregistered(name string) answers {
	return answers{"provider list": strings.Replace(signedIn()["provider list"],
		`Microsoft.`+name+`","registrationState":"Registered"`, `Microsoft.`+name+`","registrationState":"NotRegistered"`, 1)}
}

func roles(held string) answers {
	return answers{
		rest("GET", "https://graph.microsoft.com/v1.0/policies/authorizationPolicy"):                `{"defaultUserRolePermissions":{"allowedToCreateApps":false}}`,
		rest("GET", "https://graph.microsoft.com/v1.0/me/transitiveMemberOf/microsoft.graph.direc"): held,
	}
}

func TestPreflightLetsPass(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		az   answers
	}{
		{"the defaults", nil, nil},
		{"Microsoft.App, where no network needs it", nil, unregistered("App")},
		{"a provider that Resource Manager registers", nil, unregistered("Web")},
		{"an Application Developer", nil, roles(`{"value":[{"roleTemplateId":"cf1c38e5-3621-4004-a7cb-879624dced7c"}]}`)},
		{"a registration that an administrator made", map[string]string{"MCP_ENTRA_CLIENT_ID": "41000000-1111-2222-3333-444444444444"}, roles(`{"value":[]}`)},
		{"a service principal, as in a workflow", nil, merge(roles(`{"value":[]}`), answers{"account show": `{"user":{"type":"servicePrincipal"}}`})},
		{"a network, closed, with one address", map[string]string{"MCP_VIRTUAL_NETWORK": "true", "MCP_PRIVATE_ONLY": "true", "MCP_FIXED_EGRESS": "true"}, nil},
		{"origins with a slash and a comma at the end", map[string]string{"MCP_ALLOWED_ORIGINS": "https://a.example/, http://localhost:6274,"}, nil},
		{"a vault that is recovered", map[string]string{"MCP_RECOVER_KEY_VAULT": "true"}, answers{"keyvault list-deleted": `[{"name":"` + vault + `"}]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			printed, status := hook(t, "preprovision", c.env, map[string]answers{"az": merge(signedIn(), c.az)}, http.DefaultClient)
			if status != 0 || printed != "Checked before provisioning: no problem was found.\n" {
				t.Errorf("status %d:\n%s", status, printed)
			}
		})
	}
}

// TestPreflightSaysWhatItCouldNotCheck: azd signs in by itself, so the Azure CLI
// may be missing or somebody else's.
func TestPreflightSaysWhatItCouldNotCheck(t *testing.T) {
	for name, commands := range map[string]map[string]answers{
		"is not installed": nil,
		"is not signed in": {"az": {}},
		"could not be listed": {"az": {
			"account show": `{"user":{"type":"user"}}`,
		}},
	} {
		printed, status := hook(t, "preprovision", nil, commands, http.DefaultClient)
		if status != 0 || !strings.Contains(printed, "not checked") || !strings.Contains(printed, name) {
			t.Errorf("%s: status %d:\n%s", name, status, printed)
		}
	}
	env := map[string]string{"AZURE_SUBSCRIPTION_ID": "", "AZURE_LOCATION": ""}
	printed, status := hook(t, "preprovision", env, map[string]answers{"az": signedIn()}, http.DefaultClient)
	if status != 0 || !strings.Contains(printed, "azd asks for subscription and region only afterwards") {
		t.Errorf("before azd has asked: status %d:\n%s", status, printed)
	}
}

// TestAPublicURLAnswersByTLSFirst: it becomes the issuer at once.
func TestAPublicURLAnswersByTLSFirst(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler()) // as example.com
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	env := map[string]string{"MCP_PUBLIC_URL": "https://example.com/tools/"}
	trusted := server.Client().Transport.(*http.Transport)
	other := &http.Transport{DialContext: trusted.DialContext, DialTLSContext: trusted.DialTLSContext}
	for name, c := range map[string]struct {
		client *http.Client
		status int
	}{"a certificate that is trusted": {server.Client(), 0}, "another": {&http.Client{Transport: other}, 1}} {
		printed, status := hook(t, "preprovision", env, map[string]answers{"az": signedIn()}, c.client)
		if status != c.status || (status == 1) != strings.Contains(printed, "does not answer over TLS") {
			t.Errorf("%s: status %d:\n%s", name, status, printed)
		}
	}
}

func TestPreflightListsEverythingAtOnceAndCanBeTold(t *testing.T) {
	env := map[string]string{"MCP_ZONE_REDUNDANT": "yes", "MCP_PUBLIC_URL": "https://mcp.invalid", "AZURE_LOCATION": "eastus"}
	printed, status := hook(t, "preprovision", env, map[string]answers{"az": signedIn()}, http.DefaultClient)
	if status != 1 || strings.Count(printed, "refused ") < 3 {
		t.Errorf("status %d:\n%s", status, printed)
	}
	env["MCP_PREFLIGHT_SKIP"] = "public-url, region value"
	printed, status = hook(t, "preprovision", env, map[string]answers{"az": signedIn()}, http.DefaultClient)
	if status != 0 || strings.Contains(printed, "refused ") || strings.Count(printed, "skipped ") < 3 {
		t.Errorf("told to skip them: status %d:\n%s", status, printed)
	}
}

func TestPreflightFindsRenamedVariables(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, ".azure", "prod"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, ".azure", "prod", ".env"), []byte("AZURE_ENV_NAME=\"prod\"\nVNET_ENABLED=\"true\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{root: root, getenv: func(name string) string { return map[string]string{"AZURE_ENV_NAME": "prod"}[name] }}
	if found := p.oldNames(); len(found) != 1 || !strings.Contains(found[0].what, "now MCP_VIRTUAL_NETWORK and MCP_PRIVATE_ONLY") {
		t.Errorf("%+v", found)
	}
}

// serverThat answers /readyz with one text after the other, the last for ever.
func serverThat(t *testing.T, answers ...string) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		if strings.Contains(answer, "not ready") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server
}

func outputs(url string) map[string]string {
	return map[string]string{
		"MCP_URL": url + "/mcp", "ADMIN_CONSENT_URL": "https://login.example/adminconsent", "ENTRA_CLIENT_ID": "40000000-1111-2222-3333-444444444444",
		"ENTRA_REDIRECT_URIS": url + "/auth/callback", "FEDERATION_ISSUER": "https://login.example/v2.0", "FEDERATION_SUBJECT": "s-1", "FEDERATION_AUDIENCE": "api://AzureADTokenExchange",
	}
}

func TestAfterUpPeopleKnowHowToConnectAndWhen(t *testing.T) {
	const pending = `{"status":"not ready"}`
	server := serverThat(t, "<html>not ready: starting</html>", pending, pending, `{"status":"ready"}`)
	printed, status := hook(t, "postup", outputs(server.URL), nil, server.Client())
	url := server.URL + "/mcp"
	for _, want := range []string{
		"Your MCP server: " + url + "\n", "claude mcp add --transport http entramcp " + url + "\n",
		`code --add-mcp '{"name":"entramcp","type":"http","url":"` + url + `"}'`, `{"mcpServers":{"entramcp":{"url":"` + url + `"}}}`,
		"npx mcp-remote " + url + "\n", server.URL + "/account\n", "  https://login.example/adminconsent\n",
		"Waiting, 0s: status 503, not from the server\nWaiting, 10s: the server runs, and storage, keys or Entra do not answer yet; new roles take up to ten minutes\nWaiting, 20s\nReady after 30s: storage, keys and Entra answer.\n",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("does not say %q:\n%s", want, printed)
		}
	}
	if status != 0 || strings.Contains(printed, "federated-credential") {
		t.Errorf("status %d:\n%s", status, printed)
	}
}

func TestAfterUpAServerThatStaysAwayIsSaidToBe(t *testing.T) {
	server := serverThat(t, `{"status":"not ready"}`)
	printed, status := hook(t, "postup", outputs(server.URL), nil, server.Client())
	if status != 1 || !strings.Contains(printed, "take up to ten minutes.\nThe log names the check that fails") {
		t.Errorf("status %d:\n%s", status, printed)
	}
	if printed, status := hook(t, "postup", nil, nil, server.Client()); status != 1 || !strings.Contains(printed, "azd provision") {
		t.Errorf("without outputs: status %d:\n%s", status, printed)
	}
}

func TestARegistrationOfOnesOwnIsToldItsValues(t *testing.T) {
	const own = "41000000-1111-2222-3333-444444444444"
	values := answers{"env get-values --output json": `{"AZURE_ENV_NAME":"mcp-test","AZURE_LOCATION":"westeurope","AZURE_SUBSCRIPTION_ID":"` + subscription + `","MCP_PUBLIC_URL":"https://mcp.example.com/"}`}
	printed, status := hook(t, "registration", nil, map[string]answers{"azd": values}, nil)
	if status != 0 || !strings.Contains(printed, "--web-redirect-uris https://"+site+".azurewebsites.net/auth/callback https://mcp.example.com/auth/callback\n") {
		t.Errorf("status %d:\n%s", status, printed)
	}
	for _, commands := range []map[string]answers{nil, {"azd": {}}, {"azd": {"env get-values": `{"AZURE_ENV_NAME":"x"}`}}} {
		if printed, status := hook(t, "registration", nil, commands, nil); status != 1 || !strings.Contains(printed, "azd env ") {
			t.Errorf("status %d:\n%s", status, printed)
		}
	}

	server := serverThat(t, `{"status":"ready"}`)
	env := outputs(server.URL)
	env["MCP_ENTRA_CLIENT_ID"], env["ENTRA_CLIENT_ID"], env["EGRESS_ADDRESS"] = own, own, "203.0.113.7"
	printed, _ = hook(t, "postup", env, nil, server.Client())
	for _, want := range []string{
		"az ad app federated-credential create --id " + own + ` --parameters '{"audiences":["api://AzureADTokenExchange"],"issuer":"https://login.example/v2.0","name":"function-app","subject":"s-1"}'`,
		"Requests to Entra come from 203.0.113.7",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("does not say %q:\n%s", want, printed)
		}
	}
}

// TestDownSaysWhatIsLostAndWhatRemains: a registration that is deleted but not
// purged keeps its name, and the next deployment fails.
func TestDownSaysWhatIsLostAndWhatRemains(t *testing.T) {
	env := map[string]string{"AZURE_RESOURCE_GROUP": "rg-mcp-test", "ENTRA_CLIENT_ID": "40000000-1111-2222-3333-444444444444", "KEY_VAULT_NAME": vault}
	before, _ := hook(t, "predown", env, nil, nil)
	after, status := hook(t, "postdown", env, nil, nil)
	for text, wants := range map[string][]string{
		before: {"rg-mcp-test", "connects and signs in again"},
		after: {"az ad app delete --id 40000000-1111-2222-3333-444444444444\n", "az rest --method DELETE --url https://graph.microsoft.com/v1.0/directory/deletedItems/$id\n",
			vault, "azd env set MCP_RECOVER_KEY_VAULT true"},
	} {
		for _, want := range wants {
			if !strings.Contains(text, want) || status != 0 {
				t.Errorf("does not say %q:\n%s", want, text)
			}
		}
	}
	env["MCP_ENTRA_CLIENT_ID"] = env["ENTRA_CLIENT_ID"]
	if after, _ := hook(t, "postdown", env, nil, nil); strings.Contains(after, "az ad app delete") {
		t.Errorf("deletes a registration that the template did not make:\n%s", after)
	}
}

func TestHooksSayHowTheyAreRun(t *testing.T) {
	if printed, status := hook(t, "provision", nil, nil, nil); status != 64 || !strings.Contains(printed, "usage") {
		t.Errorf("status %d: %s", status, printed)
	}
}
