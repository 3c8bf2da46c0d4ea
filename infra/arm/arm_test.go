package arm

import "testing"

// TestNamesAreTheEngines: values that Bicep CLI 0.49.2 printed for this template.
func TestNamesAreTheEngines(t *testing.T) {
	const subscription = "/subscriptions/11111111-1111-1111-1111-111111111111"
	if got := UniqueString(subscription, "mcp-test", "westeurope"); got != "4x6c6pln5itry" {
		t.Errorf("uniqueString: %s", got)
	}
	const tables = subscription + "/resourceGroups/rg-mcp-test/providers/Microsoft.Storage/storageAccounts/stmcp4x6c6pln5itry/tableServices/default"
	if got := GUID(tables, "00000000-0000-0000-0000-00000000000a", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"); got != "aa859eda-ad39-5c10-9d40-832b5599aa81" {
		t.Errorf("guid: %s", got)
	}
}
