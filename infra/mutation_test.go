package infra

import (
	"maps"
	"strings"
	"testing"
)

// TestCheckerFindsMistakes changes the Bicep in ways a compiler or Azure would
// refuse, and expects the report.
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
		{"wrong API version", "modules/app.bicep", "Microsoft.Web/sites@2024-04-01", "Microsoft.Web/sites@2024-04-02", "Microsoft.Web/sites@2024-04-02 is not among the published types"},
		{"wrong type name", "modules/vault.bicep", "Microsoft.KeyVault/vaults/keys@", "Microsoft.KeyVault/vaults/key@", "is not among the published types"},
		{"unknown value", "modules/app.bicep", "type: 'blobContainer'", "type: 'container'", "storage.type may not be container"},
		{"wrong kind of value", "modules/vault.bicep", "enablePurgeProtection: true", "enablePurgeProtection: 'true'", "enablePurgeProtection is string, not bool"},
		{"object for an array", "modules/vault.bicep", "keyOps: ['wrapKey', 'unwrapKey']", "keyOps: 'wrapKey'", "keyOps is string, not array"},
		{"name too long", "modules/vault.bicep", "name: 'kv-mcp-${suffix}'", "name: 'keyvault-of-the-mcp-server-${suffix}'", "does not match ^[a-zA-Z0-9-]{3,24}$"},
		{"unknown variant", "modules/alerts.bicep", "SingleResourceMultipleMetricCriteria", "SingleMetricCriteria", ".properties.criteria.odata.type may not be"},
		{"unknown config variant", "modules/app.bicep", "name: 'appsettings'", "name: 'appsetting'", "Microsoft.Web/sites/config.name may not be"},
		{"undeclared name", "modules/app.bicep", "serverFarmId: plan.id", "serverFarmId: farm.id", "farm is not declared"},
		{"undeclared name in a branch not taken", "modules/app.bicep", "empty(subnetId) ? null : subnetId", "empty(subnetId) ? null : subnet", "subnet is not declared"},
		{"unknown function", "modules/app.bicep", "union(tags,", "merge(tags,", "there is no function merge"},
		{"wrong number of arguments", "main.bicep", "split(allowedOrigins, ',')", "split(allowedOrigins)", "split takes 2 arguments"},
		{"parameter missing", "main.bicep", "    packageContainer: storage.outputs.packageContainer\n", "", "the parameter packageContainer of modules/app.bicep has no value"},
		{"unknown parameter", "main.bicep", "    zoneRedundant: zoneRedundant\n", "    zoneRedundant: zoneRedundant\n    zones: zoneRedundant\n", "modules/app.bicep has no parameter zones"},
		{"wrong kind of parameter", "main.bicep", "privateOnly: vnetEnabled\n    identity", "privateOnly: 'yes'\n    identity", "the parameter privateOnly is string, not bool"},
		{"unknown output", "main.bicep", "storage.outputs.tableEndpoint\n      TABLES_NAME", "storage.outputs.tableUrl\n      TABLES_NAME", "storage.outputs has no tableUrl"},
		{"unknown runtime property", "modules/identity.bicep", "identity.properties.clientId", "identity.properties.clientID", "properties.clientID of a Microsoft.ManagedIdentity"},
		{"unused parameter", "modules/identity.bicep", "param suffix string", "param suffix string\nparam spare string = ''", "spare is not used"},
		{"unused variable", "modules/storage.bicep", "var packageContainerName", "var spare = 1\nvar packageContainerName", "spare is not used"},
		{"declared twice", "modules/storage.bicep", "var packageContainerName", "var roles = 1\nvar packageContainerName", "roles is declared twice"},
		{"output of something not deployed", "main.bicep", "vnetEnabled ? network!.outputs.siteSubnetId : ''", "network!.outputs.siteSubnetId", "network is not deployed here"},
		{"a cycle", "main.bicep", "identityPrincipalId: identity.outputs.principalId\n    exchange", "identityPrincipalId: app.outputs.x\n    exchange", "depends on itself"},
		{"host of one cloud", "modules/entra.bicep", "${environment().authentication.loginEndpoint}${tenant()", "https://login.microsoftonline.com/${tenant()", "is the host of one cloud"},
		{"nested resource in a loop", "modules/network.bicep", "  name: service.zone\n", "  name: service.zone\n  resource link 'virtualNetworkLinks' existing = {\n    name: 'x'\n  }\n", "BCP160"},
		{"child without parent", "modules/storage.bicep", "parent: tables\n  ", "", "a Microsoft.Storage/storageAccounts/tableServices/tables needs a parent"},
		{"parent of another type", "modules/storage.bicep", "parent: tables\n", "parent: blobs\n", "the parent of a Microsoft.Storage/storageAccounts/tableServices/tables is no"},
		{"module without a scope", "main.bicep", "name: 'identity'\n  scope: group\n", "name: 'identity'\n", "the module identity needs a resource group as scope"},
		{"value outside a parameter's list", "main.bicep", "@allowed([512, 2048, 4096])", "@allowed([512, 4096])", "the parameter instanceMemoryMB may not be 2048"},
		{"value above a parameter's limit", "main.bicep", "@maxValue(1000)\nparam maximumInstanceCount", "@maxValue(30)\nparam maximumInstanceCount", "the parameter maximumInstanceCount is above 30"},
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
			d, _ := deploy(t, parsed, scenarios()[0])
			full, _ := deploy(t, parsed, scenarios()[1])
			all := strings.Join(append(d.problems, full.problems...), "\n")
			if !strings.Contains(all, m.report) {
				t.Errorf("not reported: %s\nreported:\n%s", m.report, all)
			}
		})
	}
}
