package process

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler"
	"entramcp/handler/toolkit"
)

var contoso = toolkit.Catalogue{
	About: toolkit.About{
		Name: "contoso-tools", Title: "Tools of Contoso for everything that there is to do", Description: "What Contoso's people need every day.",
		Privacy: "https://contoso.com/privacy", Terms: "https://contoso.com/terms", Accent: "#0f6b4f",
	},
	Tools: []toolkit.Tool{
		toolkit.Define("greet", "Greet someone.", func(_ context.Context, _ *toolkit.Caller, in struct {
			Name string `json:"name" jsonschema:"Whom to greet."`
		}) (string, error) {
			return "Hello, " + in.Name, nil
		}, toolkit.ReadOnly()),
		toolkit.Define("shut_down", "Shut something down.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil }, toolkit.RequireRole("Mcp.Admin")),
	},
}

// command runs app with a catalogue.
func commandOf(t *testing.T, catalogue *toolkit.Catalogue, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, func(name string) string { return env[name] }, &out, &errs, handler.Dependencies{Catalogue: catalogue})
	return status, out.String(), errs.String()
}

// TestTheAppPackageOfMicrosoft365 holds what the package has: a manifest within
// the schema's limits, the icons, and the tools exactly as tools/list has them for a
// user without roles.
func TestTheAppPackageOfMicrosoft365(t *testing.T) {
	env := map[string]string{"LOCAL_SETTINGS": "none", "PUBLIC_URL": "https://mcp.contoso.com"}
	file := filepath.Join(t.TempDir(), "app.zip")
	status, stdout, stderr := commandOf(t, &contoso, env, "manifest", "m365", "--developer", "Contoso", file)
	if status != exitOK || !strings.Contains(stdout, "every user may call: 1.") || !strings.Contains(stdout, "need a scope or role: shut_down") {
		t.Fatalf("%d %s%s", status, stdout, stderr)
	}
	files := unzip(t, file)
	var app map[string]any
	if err := json.Unmarshal(files["manifest.json"], &app); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"$schema": "https://developer.microsoft.com/json-schemas/teams/v1.27/MicrosoftTeams.schema.json", "manifestVersion": "1.27", "version": "1.0.0",
		"id": app["id"], "accentColor": "#0f6b4f", "validDomains": []any{"mcp.contoso.com"},
		"developer":   map[string]any{"name": "Contoso", "websiteUrl": "https://mcp.contoso.com/", "privacyUrl": "https://contoso.com/privacy", "termsOfUseUrl": "https://contoso.com/terms"},
		"name":        map[string]any{"short": "Tools of Contoso for everythi…", "full": "Tools of Contoso for everything that there is to do"},
		"description": map[string]any{"short": "What Contoso's people need every day.", "full": "What Contoso's people need every day."},
		"icons":       map[string]any{"color": "color.png", "outline": "outline.png"},
		"agentConnectors": []any{map[string]any{
			"id": "contoso-tools", "displayName": "Tools of Contoso for everything that there is to do", "description": "What Contoso's people need every day.",
			"toolSource": map[string]any{"remoteMcpServer": map[string]any{
				"mcpServerUrl": "https://mcp.contoso.com/mcp", "mcpToolDescription": map[string]any{"file": "tools.json"},
			}},
		}},
	}
	if diff := cmp.Diff(want, app); diff != "" {
		t.Error(diff)
	}
	for name, size := range map[string]int{"color.png": 192, "outline.png": 32} {
		if icon, err := png.DecodeConfig(bytes.NewReader(files[name])); err != nil || icon.Width != size || icon.Height != size {
			t.Errorf("%s: %+v %v, want %d", name, icon, err, size)
		}
	}

	server := toolkit.New(toolkit.Options{Catalogue: contoso})
	endpoint := httptest.NewServer(server.Handler())
	defer endpoint.Close()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint.URL}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	listed, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var written struct{ Tools []*mcp.Tool }
	if err := json.Unmarshal(files["tools.json"], &written); err != nil {
		t.Fatal(err)
	}
	// Without an access token nothing is hidden from the list.
	shown := slices.DeleteFunc(listed.Tools, func(tool *mcp.Tool) bool { return tool.Name == "shut_down" })
	if diff := cmp.Diff(shown, written.Tools, cmp.Transformer("JSON", func(tool mcp.Tool) string {
		raw, err := json.Marshal(tool)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	})); diff != "" || len(written.Tools) != 1 {
		t.Errorf("the tools of the package differ from those of tools/list:\n%s", diff)
	}

	again := filepath.Join(t.TempDir(), "again.zip")
	if status, _, stderr := commandOf(t, &contoso, env, "manifest", "m365", "--developer", "Contoso", "--reference-id", "4f1c", "--version", "1.0.1", again); status != exitOK {
		t.Fatal(stderr)
	}
	second := string(unzip(t, again)["manifest.json"])
	for _, want := range []string{`"id": "` + app["id"].(string) + `"`, `"version": "1.0.1"`, `"type": "OAuthPluginVault"`, `"referenceId": "4f1c"`} {
		if !strings.Contains(second, want) {
			t.Errorf("the second package has no %s:\n%s", want, second)
		}
	}
}

func unzip(t *testing.T, file string) map[string][]byte {
	t.Helper()
	archive, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string][]byte{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestAManifestSaysWhatItLacks before it writes anything.
func TestAManifestSaysWhatItLacks(t *testing.T) {
	public := map[string]string{"LOCAL_SETTINGS": "none", "PUBLIC_URL": "https://mcp.contoso.com"}
	local := map[string]string{"LOCAL_SETTINGS": "none"}
	file := filepath.Join(t.TempDir(), "app.zip")
	bare := toolkit.Catalogue{About: toolkit.About{Name: "bare"}}
	for _, tt := range []struct {
		catalogue *toolkit.Catalogue
		env       map[string]string
		status    int
		want      string
		args      []string
	}{
		{&bare, public, exitFailed, "no Privacy", []string{"m365", "--developer", "Contoso", file}},
		{&bare, public, exitFailed, "no Terms", []string{"m365", "--developer", "Contoso", file}},
		{&bare, public, exitFailed, "no tool", []string{"m365", "--developer", "Contoso", file}},
		{&contoso, public, exitFailed, "at most 32 characters", []string{"m365", "--developer", strings.Repeat("x", 33), file}},
		{&contoso, public, exitUsage, "--developer is required", []string{"m365", file}},
		{&contoso, public, exitUsage, "three numbers", []string{"m365", "--developer", "Contoso", "--version", "01.0.0", file}},
		{&contoso, public, exitUsage, "must end in .zip", []string{"m365", "--developer", "Contoso", "app.json"}},
		{&contoso, local, exitConfig, "PUBLIC_URL ", []string{"m365", "--developer", "Contoso", file}},
		{&contoso, local, exitConfig, "PUBLIC_URL ", []string{"registry"}},
	} {
		status, stdout, stderr := commandOf(t, tt.catalogue, tt.env, append([]string{"manifest"}, tt.args...)...)
		if status != tt.status || !strings.Contains(stderr, tt.want) || stdout != "" {
			t.Errorf("%v: %d, want %d and %q\n%s%s", tt.args, status, tt.status, tt.want, stdout, stderr)
		}
	}
	if found, _ := filepath.Glob(file); found != nil {
		t.Error("a file is there all the same")
	}
	if status, _, stderr := commandOf(t, &contoso, public, "manifest", "m365", "--developer", "Contoso", file); status != exitOK {
		t.Fatal(stderr)
	}
	if status, _, stderr := commandOf(t, &contoso, public, "manifest", "m365", "--developer", "Contoso", file); status != exitFailed || !strings.Contains(stderr, "exists") {
		t.Errorf("%d %s", status, stderr)
	}
}

func TestTheRegistryEntryIsPrinted(t *testing.T) {
	status, stdout, stderr := commandOf(t, &contoso, map[string]string{"LOCAL_SETTINGS": "none", "PUBLIC_URL": "https://mcp.contoso.com"}, "manifest", "registry")
	var entry struct {
		Name    string
		Remotes []struct{ URL string }
	}
	if err := json.Unmarshal([]byte(stdout), &entry); status != exitOK || err != nil || entry.Name != "com.contoso.mcp/contoso-tools" || len(entry.Remotes) != 1 || entry.Remotes[0].URL != "https://mcp.contoso.com/mcp" {
		t.Errorf("%d %v %s%s", status, err, stdout, stderr)
	}
}

// TestACatalogueThatCannotBeShownDoesNotStart: the reason is a line in plain words,
// for whoever wrote the catalogue.
func TestACatalogueThatCannotBeShownDoesNotStart(t *testing.T) {
	light := contoso
	light.Accent, light.Privacy = "#ffd400", "contoso.com/privacy"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	status, _, stderr := commandOf(t, &light, complete(t, port))
	if status == exitOK || strings.Contains(stderr, "panic") || !strings.Contains(stderr, "Accent #ffd400 is too light for white text") || !strings.Contains(stderr, "Privacy ") {
		t.Errorf("%d %s", status, stderr)
	}
}
