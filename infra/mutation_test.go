package infra

import (
	"maps"
	"strings"
	"testing"
)

// TestCheckerFindsMistakes changes the Bicep in ways that Azure would refuse, and
// expects the report. What only a compiler notices is left to the compiler.
func TestCheckerFindsMistakes(t *testing.T) {
	mutations := []struct {
		name, file, from, to string
		report               string
	}{
		{"unknown property", "modules/app.bicep", "httpsOnly: true", "httpOnly: true", ".properties.httpOnly does not exist"},
		{"unknown deep property", "modules/app.bicep", "perInstanceConcurrency:", "perInstanceConcurency:", "triggers.http.perInstanceConcurency does not exist"},
		{"unknown property in an array", "modules/network.bicep", "addressPrefix: '10.0.1.0/24'", "adressPrefix: '10.0.1.0/24'", "subnets[0].properties.adressPrefix does not exist"},
		{"required property missing", "modules/vault.bicep", "sku: { family: 'A', name: 'standard' }", "", ".properties.sku is required"},
		{"required location missing", "modules/storage.bicep", "location: location\n  tags", "tags", ".location is required"},
		{"read-only property", "modules/storage.bicep", "accessTier: 'Hot'", "provisioningState: 'Succeeded'", ".properties.provisioningState is read-only"},
		{"wrong API version", "modules/app.bicep", "Microsoft.Web/sites@2025-03-01", "Microsoft.Web/sites@2025-03-02", "Microsoft.Web/sites@2025-03-02 is not among the published types"},
		{"wrong type name", "modules/vault.bicep", "Microsoft.KeyVault/vaults/keys@", "Microsoft.KeyVault/vaults/key@", "is not among the published types"},
		{"unknown value", "modules/app.bicep", "type: 'blobContainer'", "type: 'container'", "storage.type may not be container"},
		{"wrong kind of value", "modules/vault.bicep", "enablePurgeProtection: true", "enablePurgeProtection: 'true'", "enablePurgeProtection is string, not bool"},
		{"object for an array", "modules/vault.bicep", "keyOps: ['wrapKey', 'unwrapKey']", "keyOps: 'wrapKey'", "keyOps is string, not array"},
		{"unknown variant", "modules/alerts.bicep", "SingleResourceMultipleMetricCriteria", "SingleMetricCriteria", ".properties.criteria.odata.type may not be"},
		{"unknown config variant", "modules/app.bicep", "name: 'appsettings'", "name: 'appsetting'", "Microsoft.Web/sites/config.name may not be"},
		{"undeclared name", "modules/app.bicep", "serverFarmId: plan.id", "serverFarmId: farm.id", "farm is not declared"},
		{"parameter missing", "main.bicep", "    packageContainer: storage.outputs.packageContainer\n", "", "the parameter packageContainer of modules/app.bicep has no value"},
		{"unknown output", "main.bicep", "storage.outputs.tableEndpoint\n  TABLES_NAME", "storage.outputs.tableUrl\n  TABLES_NAME", "storage.outputs has no tableUrl"},
		{"unknown runtime property", "modules/identity.bicep", "identity.properties.clientId", "identity.properties.clientID", "properties.clientID of a Microsoft.ManagedIdentity"},
		{"output of something not deployed", "main.bicep", "virtualNetwork ? network!.outputs.siteSubnetId : ''", "network!.outputs.siteSubnetId", "network is not deployed here"},
		{"a cycle", "main.bicep", "identityPrincipalId: identity.outputs.principalId\n    exchange", "identityPrincipalId: app.outputs.x\n    exchange", "depends on itself"},
		{"module without a scope", "main.bicep", "module identity 'modules/identity.bicep' = {\n  scope: group\n", "module identity 'modules/identity.bicep' = {\n", "the module identity needs a resource group as scope"},
		{"syntax", "modules/app.bicep", "httpsOnly: true", "httpsOnly = true", "syntax error"},
	}
	original := readSources(t)
	variants := make([]sources, len(mutations))
	for i, m := range mutations {
		if strings.Count(original[m.file], m.from) != 1 {
			t.Fatalf("%s: %q is %d times in %s", m.name, m.from, strings.Count(original[m.file], m.from), m.file)
		}
		variants[i] = maps.Clone(original)
		variants[i][m.file] = strings.Replace(original[m.file], m.from, m.to, 1)
	}
	for i, parsed := range parseAll(t, variants...) {
		m := mutations[i]
		t.Run(m.name, func(t *testing.T) {
			d := deploy(t, parsed, scenarios()[0])
			full := deploy(t, parsed, scenarios()[1])
			all := strings.Join(append(d.problems, full.problems...), "\n")
			if !strings.Contains(all, m.report) {
				t.Errorf("not reported: %s\nreported:\n%s", m.report, all)
			}
		})
	}
}
