package infra

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"entramcp/handler/config"
)

// hook runs a POSIX hook with only env and returns what it printed.
func hook(t *testing.T, name string, env ...string) (printed string, status int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "hooks/"+name)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestHooksSayHowToConnectAndWhatRemains(t *testing.T) {
	parsed := parseAll(t, readSources(t))[0]
	_, outputs := deploy(t, parsed, scenarios()[1])
	var env []string
	for name, v := range outputs {
		env = append(env, name+"="+v.(string))
	}
	env = append(env, "PATH=/bin:/usr/bin")
	for name, want := range map[string][]string{
		"postup.sh": {"Your MCP server: https://mcp.example.com/mcp\n", "claude mcp add --transport http entra https://mcp.example.com/mcp\n",
			`code --add-mcp '{"name":"entra","type":"http","url":"https://mcp.example.com/mcp"}'`, "npx mcp-remote https://mcp.example.com/mcp\n",
			"https://login.microsoftonline.com/" + tenantID + "/v2.0/adminconsent?client_id=" + applicationClient +
				"&scope=openid%20profile%20email%20offline_access%20" + applicationClient + "%2Fmcp.access&redirect_uri=https%3A%2F%2Fmcp.example.com%2Fauth%2Fcallback\n"},
		"predown.sh": {"az ad app delete --id " + applicationClient + "\n"},
	} {
		printed, status := hook(t, name, env...)
		for _, w := range want {
			if !strings.Contains(printed, w) || status != 0 {
				t.Errorf("%s: status %d, does not say %q:\n%s", name, status, w, printed)
			}
		}
	}
}

// TestHooksSayTheSameOnWindows compares the texts, for no PowerShell runs here.
func TestHooksSayTheSameOnWindows(t *testing.T) {
	between := func(path, begin, end string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(b), begin)
		text, _, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s: no text", path)
		}
		return text
	}
	variables := strings.NewReplacer("$($env:ADMIN_CONSENT_URL)", "$ADMIN_CONSENT_URL", "$url", "$MCP_URL",
		"$id", "${ENTRA_CLIENT_ID:-<application id>}")
	for _, name := range []string{"hooks/postup", "hooks/predown"} {
		posix := between(name+".sh", "cat <<TEXT\n", "TEXT\n")
		windows := variables.Replace(between(name+".ps1", "Write-Output @\"\n", "\"@"))
		if posix != windows {
			t.Errorf("%s differs:\n%s\n%s", name, posix, windows)
		}
	}
}

// TestProvisioningNeedsMicrosoftApp: without it Flex Consumption fails late.
func TestProvisioningNeedsMicrosoftApp(t *testing.T) {
	for _, c := range []struct {
		name, az string
		status   int
	}{
		{"registered", "echo Registered", 0},
		{"not registered", "echo NotRegistered", 1},
		{"not signed in", "exit 1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+c.az+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			printed, status := hook(t, "preprovision.sh", "PATH="+dir+":/bin:/usr/bin", "AZURE_SUBSCRIPTION_ID="+subscriptionID)
			if status != c.status {
				t.Errorf("status %d: %s", status, printed)
			}
			if told := strings.Contains(printed, "az provider register --namespace Microsoft.App --wait --subscription "+subscriptionID); told != (c.status != 0) {
				t.Errorf("printed %q", printed)
			}
		})
	}
	if printed, status := hook(t, "preprovision.sh", "PATH="+t.TempDir()); status != 0 || printed != "" {
		t.Errorf("without the Azure CLI: status %d: %s", status, printed)
	}
}

// TestOperatorCanRotateKeys: the variables that docs/deploy.md exports, from
// the outputs it takes them from, are a configuration.
func TestOperatorCanRotateKeys(t *testing.T) {
	parsed := parseAll(t, readSources(t))[0]
	_, outputs := deploy(t, parsed, scenarios()[1])
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"ENTRA_CLIENT_SECRET": "unused"}
	for name, from := range map[string]string{"TABLES_URL": "TABLES_URL", "KEY_VAULT_KEY_URL": "KEY_VAULT_KEY_URL",
		"ENTRA_TENANT_ID": "AZURE_TENANT_ID", "ENTRA_CLIENT_ID": "ENTRA_CLIENT_ID"} {
		if !strings.Contains(string(docs), name+"=$(azd env get-value "+from+")") {
			t.Errorf("docs/deploy.md does not export %s", name)
		}
		env[name], _ = outputs[from].(string)
	}
	cfg, err := config.Load(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Store.TablesURL == "" || cfg.Keys.VaultKeyURL == "" || cfg.InAzure {
		t.Errorf("%+v", cfg.LogValue())
	}
}
