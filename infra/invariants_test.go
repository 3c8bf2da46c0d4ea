package infra

import (
	"fmt"
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
	parsed := parseAll(t, readSources(t))[0]
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			d, _ := deploy(t, parsed, s)
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
		if s.env["VNET_ENABLED"] == "true" && site.at("properties.virtualNetworkSubnetId") == nil {
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
		app := d.one(t, "Microsoft.Graph/applications")
		for _, name := range []string{"passwordCredentials", "keyCredentials"} {
			if app.at(name) != nil {
				t.Errorf("the app registration has %s", name)
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
		app := d.one(t, "Microsoft.Graph/applications")
		expect(t, app, "api.requestedAccessTokenVersion", 2)
		expect(t, app, "signInAudience", "AzureADMyOrg")
		expect(t, app, "web.implicitGrantSettings.enableIdTokenIssuance", false)
		want := []string{"https://" + d.one(t, "Microsoft.Web/sites").name + map[string]string{"AzureCloud": ".azurewebsites.net", "AzureUSGovernment": ".azurewebsites.us"}[s.cloud] + "/auth/callback"}
		if s.env["PUBLIC_URL"] != "" {
			want = append(want, "https://mcp.example.com/auth/callback")
		}
		expect(t, app, "web.redirectUris", want)
		federation := d.one(t, "Microsoft.Graph/applications/federatedIdentityCredentials")
		expect(t, federation, "subject", identityPrincipal)
		login := clouds[s.cloud]["authentication"].(map[string]any)["loginEndpoint"].(string)
		expect(t, federation, "issuer", login+tenantID+"/v2.0")
		expect(t, federation, "audiences", []string{map[string]string{
			"AzureCloud": "api://AzureADTokenExchange", "AzureUSGovernment": "api://AzureADTokenExchangeUSGov"}[s.cloud]})
		name, _, _ := strings.Cut(federation.name, "/")
		expect(t, app, "uniqueName", name)
		expect(t, d.one(t, "Microsoft.Graph/servicePrincipals"), "appId", applicationClient)
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
	)
	server := []string{
		"Microsoft.Insights/components " + metricsPublisher + " " + identityPrincipal,
		"Microsoft.KeyVault/vaults/keys " + cryptoUser + " " + identityPrincipal,
		"Microsoft.Storage/storageAccounts " + blobDataOwner + " " + identityPrincipal,
		"Microsoft.Storage/storageAccounts/tableServices " + tableDataContributor + " " + identityPrincipal,
	}
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		want := slices.Clone(server)
		if operator := s.env["OPERATOR_PRINCIPAL_ID"]; operator != "" {
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
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		access, endpoints := "Enabled", 0
		if s.env["VNET_ENABLED"] == "true" {
			access, endpoints = "Disabled", 3
		}
		expect(t, d.one(t, "Microsoft.Storage/storageAccounts"), "properties.publicNetworkAccess", access)
		expect(t, d.one(t, "Microsoft.KeyVault/vaults"), "properties.publicNetworkAccess", access)
		for _, kind := range []string{"Microsoft.Network/privateEndpoints", "Microsoft.Network/privateDnsZones",
			"Microsoft.Network/privateDnsZones/virtualNetworkLinks", "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"} {
			if n := len(d.all(kind)); n != endpoints {
				t.Errorf("%d of %s, want %d", n, kind, endpoints)
			}
		}
	})
}

// TestNamesComeFromOneToken: a second environment of the same subscription gets
// names of its own, and the same environment the same ones.
func TestNamesComeFromOneToken(t *testing.T) {
	parsed := parseAll(t, readSources(t))[0]
	names := func(env string) map[string]bool {
		s := scenarios()[1]
		s.env["AZURE_ENV_NAME"] = env
		d, _ := deploy(t, parsed, s)
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
		if !again[name] {
			t.Errorf("%s differs when deployed again", name)
		}
		if two[name] && !strings.HasPrefix(name, "Microsoft.Graph/servicePrincipals") && !strings.HasPrefix(name, "Microsoft.Graph/applications@") {
			t.Errorf("%s is the same in another environment", name)
		}
	}
}

// TestAlertsLookForWhatTheServerLogs: an alert that looks for other words than
// the log's would stay silent.
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
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		phrases := 0
		for _, rule := range d.all("Microsoft.Insights/scheduledQueryRules") {
			query, _ := rule.at("properties.criteria").(map[string]any)["allOf"].([]any)[0].(map[string]any)["query"].(string)
			for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(query, -1) {
				phrases++
				if !strings.Contains(code.String(), m[1]) {
					t.Errorf("%s looks for %q, which the server never logs", rule.name, m[1])
				}
			}
		}
		if phrases < 5 {
			t.Errorf("only %d phrases", phrases)
		}
	})
}
