package docs

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// TestClientsWereRunInTheVersionsNamed: what clients.md says was run is what the
// tests install.
func TestClientsWereRunInTheVersionsNamed(t *testing.T) {
	var packages struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	text := read(t, "e2e/package.json")
	if err := json.Unmarshal([]byte(text), &packages); err != nil {
		t.Fatal(err)
	}
	modules := read(t, "go.mod")
	sdk := regexp.MustCompile(`github.com/modelcontextprotocol/go-sdk v(\S+)`).FindStringSubmatch(modules)
	if sdk == nil {
		t.Fatal("the Go SDK is not in go.mod")
	}
	page := read(t, "docs/clients.md")
	for client, version := range map[string]string{
		"| TypeScript SDK 1,":           packages.Dependencies["@modelcontextprotocol/sdk"],
		"| TypeScript SDK 2 ":           packages.Dependencies["@modelcontextprotocol/client"],
		"| Go SDK ":                     sdk[1],
		"| Python SDK 1 ":               pythonSDK(t, "1"),
		"| Python SDK 2 ":               pythonSDK(t, "2"),
		"| MCP Inspector, command line": packages.Dependencies["@modelcontextprotocol/inspector"],
		"| mcp-remote,":                 packages.Dependencies["mcp-remote"],
		"| official conformance suite ": packages.Dependencies["@modelcontextprotocol/conformance"],
	} {
		_, line, found := strings.Cut(page, "\n"+client)
		line, _, _ = strings.Cut(line, "\n")
		if !found || version == "" || !strings.Contains(line, "| "+version) {
			t.Errorf("clients.md does not say that %s was run in version %q", strings.Trim(client, "| ,"), version)
		}
	}
}

// pythonSDK is the version that the tests install of one line of the Python SDK.
func pythonSDK(t *testing.T, line string) string {
	t.Helper()
	text := read(t, "e2e/clients/python/requirements-"+line+".txt")
	mcp := regexp.MustCompile(`(?m)^mcp==(\S+)$`).FindStringSubmatch(text)
	if mcp == nil {
		t.Fatalf("the requirements for Python SDK %s do not pin it", line)
	}
	return mcp[1]
}
