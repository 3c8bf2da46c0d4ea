package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deployed evaluates the template for every scenario.
func deployed(t *testing.T, check func(t *testing.T, s scenario, d *deployment)) {
	t.Helper()
	parsed := parsedTemplate(t)
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			d := deploy(t, parsed, s)
			check(t, s, d)
		})
	}
}

func expect(t *testing.T, in *instance, path string, want any) {
	t.Helper()
	if got := in.at(path); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %s is %v, want %v", in.where, path, got, want)
	}
}

func TestSiteIsACustomHandlerOnFlexConsumption(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		plan := d.one(t, "Microsoft.Web/serverfarms")
		expect(t, plan, "sku.name", "FC1")
		expect(t, plan, "sku.tier", "FlexConsumption")
		expect(t, plan, "properties.reserved", true)
		site := d.one(t, "Microsoft.Web/sites")
		expect(t, site, "kind", "functionapp,linux")
		expect(t, site, "properties.serverFarmId", plan.id)
		expect(t, site, "properties.functionAppConfig.runtime.name", "custom")
		expect(t, site, "properties.functionAppConfig.runtime.version", "1.0")
		expect(t, site, "properties.httpsOnly", true)
		if s.env["MCP_VIRTUAL_NETWORK"] == "true" && site.at("properties.virtualNetworkSubnetId") == nil {
			t.Error("the site is not in the network")
		}
		for _, c := range d.all("Microsoft.Web/sites/config") {
			if c.name != "appsettings" {
				t.Errorf("%s: the server is its own authorization server; App Service's %s would answer in front of it", c.where, c.name)
			}
		}
	})
}

func TestNoSecretExists(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		for _, app := range d.all("Microsoft.Graph/applications") {
			for _, name := range []string{"passwordCredentials", "keyCredentials"} {
				if app.at(name) != nil {
					t.Errorf("the app registration has %s", name)
				}
			}
		}
		expect(t, d.one(t, "Microsoft.Storage/storageAccounts"), "properties.allowSharedKeyAccess", false)
		expect(t, d.one(t, "Microsoft.Storage/storageAccounts"), "properties.allowBlobPublicAccess", false)
		expect(t, d.one(t, "Microsoft.Insights/components"), "properties.DisableLocalAuth", true)
		vault := d.one(t, "Microsoft.KeyVault/vaults")
		expect(t, vault, "properties.enableRbacAuthorization", true)
		expect(t, vault, "properties.enablePurgeProtection", true)
		for _, policy := range d.all("Microsoft.Web/sites/basicPublishingCredentialsPolicies") {
			expect(t, policy, "properties.allow", false)
		}
		for name, text := range readSources(t) {
			if found := regexp.MustCompile(`(?i)list(account)?(keys|sas|secrets)|passwordcredential|clientsecret|@secure`).FindString(text); found != "" {
				t.Errorf("%s mentions %s", name, found)
			}
		}
	})
}

func TestEntraTrustsTheIdentityAlone(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		if s.env["MCP_ENTRA_CLIENT_ID"] != "" {
			for _, in := range d.instances {
				if strings.HasPrefix(in.kind, "Microsoft.Graph/") {
					t.Errorf("%s: %s is made beside the existing registration", in.where, in.kind)
				}
			}
			return
		}
		app := d.one(t, "Microsoft.Graph/applications")
		expect(t, app, "api.requestedAccessTokenVersion", 2)
		expect(t, app, "signInAudience", map[bool]string{true: "AzureADMultipleOrgs", false: "AzureADMyOrg"}[s.env["MCP_MULTI_TENANT"] == "true"])
		expect(t, app, "web.implicitGrantSettings.enableIdTokenIssuance", false)
		want := []string{"https://" + d.one(t, "Microsoft.Web/sites").name + map[string]string{"AzureCloud": ".azurewebsites.net", "AzureUSGovernment": ".azurewebsites.us"}[s.cloud] + "/auth/callback"}
		uris := []string{"api://" + tenantID + "/" + d.one(t, "Microsoft.Web/sites").name}
		if s.env["MCP_PUBLIC_URL"] != "" {
			want = append(want, "https://mcp.example.com/auth/callback")
		}
		if s.env["MCP_RESOURCE_URI"] == "true" {
			uris = append(uris, "https://mcp.example.com/mcp")
		}
		expect(t, app, "web.redirectUris", want)
		expect(t, app, "identifierUris", uris)
		federation := d.one(t, "Microsoft.Graph/applications/federatedIdentityCredentials")
		login := clouds[s.cloud]["authentication"].(map[string]any)["loginEndpoint"].(string)
		audience := map[string]string{"AzureCloud": "api://AzureADTokenExchange", "AzureUSGovernment": "api://AzureADTokenExchangeUSGov"}[s.cloud]
		expect(t, federation, "subject", identityPrincipal)
		expect(t, federation, "issuer", login+tenantID+"/v2.0")
		expect(t, federation, "audiences", []string{audience})
		// What an administrator is told for a registration of their own is the same.
		for name, value := range map[string]string{"FEDERATION_ISSUER": login + tenantID + "/v2.0", "FEDERATION_SUBJECT": identityPrincipal, "FEDERATION_AUDIENCE": audience} {
			if d.outputs[name] != value {
				t.Errorf("%s is %v", name, d.outputs[name])
			}
		}
		name, _, _ := strings.Cut(federation.name, "/")
		expect(t, app, "uniqueName", name)
		expect(t, d.one(t, "Microsoft.Graph/servicePrincipals"), "appId", applicationClient)
	})
}

// TestRolesOfTheRegistration: who may hold each role, and that only principals
// that were named are assigned one.
func TestRolesOfTheRegistration(t *testing.T) {
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		if s.env["MCP_ENTRA_CLIENT_ID"] != "" {
			return
		}
		members, values := map[string]string{}, map[string]string{}
		for _, r := range d.one(t, "Microsoft.Graph/applications").at("appRoles").([]any) {
			role := r.(map[string]any)
			members[str(role["value"])] = fmt.Sprint(role["allowedMemberTypes"])
			values[str(role["id"])] = str(role["value"])
		}
		if want := map[string]string{"Mcp.Admin": "[User]", "Mcp.Reader": "[User]", "Mcp.Invoke": "[Application]", "Mcp.Connections.Manage": "[User Application]"}; !maps.Equal(members, want) {
			t.Errorf("roles %v, want %v", members, want)
		}
		var got, want []string
		for _, a := range d.all("Microsoft.Graph/appRoleAssignedTo") {
			got = append(got, values[str(a.at("appRoleId"))]+" "+str(a.at("principalId")))
		}
		for variable, role := range map[string]string{"MCP_INVOKE_PRINCIPALS": "Mcp.Invoke", "MCP_MANAGE_PRINCIPALS": "Mcp.Connections.Manage"} {
			for _, id := range strings.FieldsFunc(s.env[variable], func(r rune) bool { return r == ',' || r == ' ' }) {
				want = append(want, role+" "+id)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("assignments %q, want %q", got, want)
		}
	})
}

// TestSiteConfigHoldsWhatFlexTakes: Flex Consumption refuses a deployment that
// sets ftpsState and others (error 51021). What is added here needs a source
// that says Flex takes it.
// https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
func TestSiteConfigHoldsWhatFlexTakes(t *testing.T) {
	deployed(t, func(t *testing.T, _ scenario, d *deployment) {
		got := names(d.one(t, "Microsoft.Web/sites").at("properties.siteConfig").(map[string]any))
		if want := []string{"cors", "minTlsVersion"}; !slices.Equal(got, want) {
			t.Errorf("siteConfig holds %q, want %q", got, want)
		}
	})
}

// TestRolesAreTheLeastThatWork lists every role assignment: what, on which type
// of resource, to whom. The ids are those of
// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
func TestRolesAreTheLeastThatWork(t *testing.T) {
	const (
		blobDataOwner        = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
		tableDataContributor = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
		metricsPublisher     = "3913510d-42f4-4e42-8a64-420c390055eb"
		cryptoUser           = "12338af0-0e69-4776-bea7-57ae8d297424"
		secretsUser          = "4633458b-17de-408a-b874-0445c86b69e6"
	)
	server := []string{
		"Microsoft.Insights/components " + metricsPublisher + " " + identityPrincipal,
		"Microsoft.KeyVault/vaults/keys " + cryptoUser + " " + identityPrincipal,
		"Microsoft.Storage/storageAccounts " + blobDataOwner + " " + identityPrincipal,
		"Microsoft.Storage/storageAccounts/tableServices " + tableDataContributor + " " + identityPrincipal,
	}
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		want := slices.Clone(server)
		if s.env["MCP_ENTRA_VAULT_CREDENTIAL"] != "" {
			want = append(want, "Microsoft.KeyVault/vaults "+secretsUser+" "+identityPrincipal)
		}
		operator := s.env["MCP_OPERATOR_PRINCIPAL_ID"]
		if s.env["MCP_OPERATOR_ACCESS"] == "true" {
			operator = s.env["AZURE_PRINCIPAL_ID"]
		}
		if operator != "" {
			want = append(want, "Microsoft.KeyVault/vaults/keys "+cryptoUser+" "+operator, "Microsoft.Storage/storageAccounts/tableServices "+tableDataContributor+" "+operator)
		}
		var got []string
		names := map[string]bool{}
		for _, r := range d.all("Microsoft.Authorization/roleAssignments") {
			on, _ := r.scope.(*instance)
			kind, _, _ := strings.Cut(on.kind, "@")
			role, _ := r.at("properties.roleDefinitionId").(string)
			got = append(got, fmt.Sprint(kind, " ", filepath.Base(role), " ", r.at("properties.principalId")))
			if names[r.name] {
				t.Errorf("%s: two assignments of the same name", r.where)
			}
			names[r.name] = true
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestPrivateNetworkClosesWhatItCan(t *testing.T) {
	for _, c := range []struct {
		name            string
		set             map[string]string
		access          string
		endpoints, nats int
	}{
		{"open", nil, "Enabled", 0, 0},
		{"endpoints beside open services", map[string]string{"MCP_VIRTUAL_NETWORK": "true"}, "Enabled", 3, 0},
		{"closed", map[string]string{"MCP_VIRTUAL_NETWORK": "true", "MCP_PRIVATE_ONLY": "true"}, "Disabled", 3, 0},
		{"one address", map[string]string{"MCP_VIRTUAL_NETWORK": "true", "MCP_FIXED_EGRESS": "true"}, "Enabled", 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scenarios()[0]
			maps.Copy(s.env, c.set)
			d := deploy(t, parsedTemplate(t), s)
			expect(t, d.one(t, "Microsoft.Storage/storageAccounts"), "properties.publicNetworkAccess", c.access)
			expect(t, d.one(t, "Microsoft.KeyVault/vaults"), "properties.publicNetworkAccess", c.access)
			for _, kind := range []string{"Microsoft.Network/privateEndpoints", "Microsoft.Network/privateDnsZones",
				"Microsoft.Network/privateDnsZones/virtualNetworkLinks", "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"} {
				if n := len(d.all(kind)); n != c.endpoints {
					t.Errorf("%d of %s, want %d", n, kind, c.endpoints)
				}
			}
			if n := len(d.all("Microsoft.Network/natGateways")); n != c.nats || (d.outputs["EGRESS_ADDRESS"] != "") != (c.nats > 0) {
				t.Errorf("%d NAT gateways, address %v", n, d.outputs["EGRESS_ADDRESS"])
			}
		})
	}
}

// TestNamesComeFromOneToken: a second environment of the same subscription gets
// names of its own, and the same environment the same ones.
func TestNamesComeFromOneToken(t *testing.T) {
	parsed := parsedTemplate(t)
	names := func(env string) map[string]bool {
		s := scenarios()[1]
		s.env["AZURE_ENV_NAME"] = env
		d := deploy(t, parsed, s)
		out := map[string]bool{}
		for _, in := range d.instances {
			if in.parent == nil && in.scope == nil && !strings.HasPrefix(in.kind, "Microsoft.Network/privateDnsZones@") {
				out[in.kind+" "+in.name] = true
			}
		}
		return out
	}
	one, again, two := names("one"), names("one"), names("two")
	for name := range one {
		_, short, _ := strings.Cut(name, " ")
		if limited := strings.HasPrefix(name, "Microsoft.Storage/") || strings.HasPrefix(name, "Microsoft.KeyVault/"); limited && len(short) > 24 {
			t.Errorf("%s has more than 24 characters", name)
		}
	}
	for name := range one {
		if !again[name] {
			t.Errorf("%s differs when deployed again", name)
		}
		if two[name] && !strings.HasPrefix(name, "Microsoft.Graph/servicePrincipals") && !strings.HasPrefix(name, "Microsoft.Graph/appRoleAssignedTo") && !strings.HasPrefix(name, "Microsoft.Graph/applications@") {
			t.Errorf("%s is the same in another environment", name)
		}
	}
}

// TestAlertsLookForWhatTheServerLogs: an alert or a chart that looks for other
// words than the log's would stay silent. Events are compared by their names,
// other lines by their message.
func TestAlertsLookForWhatTheServerLogs(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir("../handler", func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			b, readErr := os.ReadFile(path)
			code.Write(b)
			return readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]bool{}
	for _, m := range regexp.MustCompile(`EventName\s+= "([a-z_]+)"`).FindAllStringSubmatch(code.String(), -1) {
		events[m[1]] = true
	}
	queries := map[string]string{}
	d := deploy(t, parsedTemplate(t), scenarios()[1])
	for _, rule := range d.all("Microsoft.Insights/scheduledQueryRules") {
		queries[rule.name] = str(list(rule.at("properties.criteria.allOf"))[0].(map[string]any)["query"])
	}
	var workbook struct {
		Items []struct {
			Name    string
			Content struct{ Query string }
		}
	}
	if err := json.Unmarshal([]byte(str(d.one(t, "Microsoft.Insights/workbooks").at("properties.serializedData"))), &workbook); err != nil {
		t.Fatal(err)
	}
	for _, item := range workbook.Items {
		if item.Content.Query != "" {
			queries["workbook: "+item.Name] = item.Content.Query
		}
	}

	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	queries["docs/operations.md"] = string(manual)

	inEvents := regexp.MustCompile(`\bevent (?:==|in) \(?((?:"[a-z_]+"(?:, )?)+)`)
	// The names of metrics and warnings are what their Go constants and calls say.
	named := map[string]*regexp.Regexp{
		"metric":  regexp.MustCompile(`\bmetric (?:==|in) \(?((?:"[a-z_.]+"(?:, )?)+)`),
		"warning": regexp.MustCompile(`\bwarning (?:==|in) \(?((?:"[a-z_]+"(?:, )?)+)`),
		"message": regexp.MustCompile(`\bmsg == ("[a-z ]+")`),
	}
	inMessages := regexp.MustCompile(`Message has_any \(((?:"[^"\\]+"(?:, )?)+)\)`)
	quoted := regexp.MustCompile(`"([^"]+)"`)
	compared := 0
	for name, query := range queries {
		for _, m := range inEvents.FindAllStringSubmatch(query, -1) {
			for _, event := range quoted.FindAllStringSubmatch(m[1], -1) {
				compared++
				if !events[event[1]] {
					t.Errorf("%s looks for the event %s, which the server does not have", name, event[1])
				}
			}
		}
		for kind, in := range named {
			for _, m := range in.FindAllStringSubmatch(query, -1) {
				for _, word := range quoted.FindAllStringSubmatch(m[1], -1) {
					compared++
					if !strings.Contains(code.String(), `"`+word[1]+`"`) {
						t.Errorf("%s looks for the %s %s, which the server does not have", name, kind, word[1])
					}
				}
			}
		}
		for _, m := range inMessages.FindAllStringSubmatch(query, -1) {
			for _, phrase := range quoted.FindAllStringSubmatch(m[1], -1) {
				compared++
				if !strings.Contains(code.String(), `"`+phrase[1]) {
					t.Errorf("%s looks for %q, which the server never logs", name, phrase[1])
				}
			}
		}
	}
	if compared < 50 || len(queries) < 20 {
		t.Errorf("only %d words in %d queries", compared, len(queries))
	}
}
