package e2e

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"entramcp/e2e/stack"
	"entramcp/examples"
	"entramcp/handler/manifest"
	"entramcp/handler/toolkit"
	"entramcp/handler/tools"
)

// TestTheAppManifestIsWhatMicrosoftsSchemaTakes, with and without a registration of its
// own in the Developer Portal, and the schema refuses what it should.
func TestTheAppManifestIsWhatMicrosoftsSchemaTakes(t *testing.T) {
	catalogue := tools.Catalogue().With(examples.All()...)
	open, _ := catalogue.OpenTools()
	node := stack.Node(t)
	app := manifest.M365{
		About:  toolkit.About{Name: "contoso-tools", Title: "Contoso Tools", Privacy: "https://contoso.com/privacy", Terms: "https://contoso.com/terms"},
		Issuer: "https://mcp.contoso.com", Endpoint: "https://mcp.contoso.com/mcp", Version: "1.0.0", Developer: "Contoso", Tools: open,
	}
	wrong := app
	wrong.About.Name = strings.Repeat("x", 65)
	vault := app
	vault.ReferenceID = "4f1c"
	for name, tt := range map[string]struct {
		app     manifest.M365
		refused string
	}{"registers itself": {app, ""}, "with a registration": {vault, ""}, "too long an id": {wrong, "/agentConnectors/0/id must NOT have more than 64 characters"}} {
		var archive bytes.Buffer
		if err := tt.app.Write(&archive); err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "manifest.json")
		if err := os.WriteFile(file, content(t, z.File[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(node, "clients/m365.mjs", file).CombinedOutput()
		if tt.refused == "" && err != nil || tt.refused != "" && !strings.Contains(string(out), tt.refused) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
