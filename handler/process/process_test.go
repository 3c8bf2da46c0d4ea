package process

import (
	"bytes"
	"context"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/handler"
)

func start(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	status = run(ctx, args, func(name string) string { return env[name] }, &out, &errs, handler.Dependencies{})
	return status, out.String(), errs.String()
}

// complete is a configuration that starts.
func complete(t *testing.T, port int) map[string]string {
	return map[string]string{
		"PORT": strconv.Itoa(port), "DATA_DIR": t.TempDir(),
		"ENTRA_TENANT_ID": "contoso.onmicrosoft.com", "ENTRA_CLIENT_ID": "11111111-2222-3333-4444-555555555555", "ENTRA_CLIENT_SECRET": "not-a-secret",
	}
}

func TestMistakesInTheConfigurationEndWith78(t *testing.T) {
	status, _, stderr := start(t, map[string]string{"PORT": "no", "ENTRA_CLIENT_ID": "x"})
	if status != exitConfig {
		t.Errorf("status %d, want %d", status, exitConfig)
	}
	for _, name := range []string{"PORT", "ENTRA_CLIENT_ID", "ENTRA_TENANT_ID", "ENTRA_CLIENT_SECRET"} {
		if !slices.ContainsFunc(strings.Split(stderr, "\n"), func(l string) bool { return strings.HasPrefix(l, name+" ") }) {
			t.Errorf("no line about %s in:\n%s", name, stderr)
		}
	}
}

func TestTheDoctorReadsLocalSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	for text, line := range map[string]string{
		`{"Values": {"ENTRA_TENANT_ID": "my tenant"}}`: `wrong    configuration  ENTRA_TENANT_ID is "my tenant" — Write the Directory (tenant) ID`,
		`{"Values": `: "wrong    configuration  local.settings.json cannot be used",
	} {
		if err := os.WriteFile("local.settings.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		status, stdout, _ := start(t, nil, "doctor")
		if status != exitConfig || !strings.Contains("\n"+stdout, "\n"+line) {
			t.Errorf("status %d, want %d and the line %q in:\n%s", status, exitConfig, line, stdout)
		}
	}
}

func TestAPortInUseIsOneClearLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	status, _, stderr := start(t, complete(t, port))
	if status == exitOK || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, strconv.Itoa(port)+" is in use") {
		t.Errorf("status %d, stderr:\n%s", status, stderr)
	}
}

func TestUnknownCommandsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"serve", "now"}, {"--port=1"}, {"doctor", "now"}} {
		if status, stdout, stderr := start(t, nil, args...); status != exitUsage || stdout != "" || !strings.Contains(stderr, "Run app help") {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
	}
	if status, stdout, _ := start(t, nil, "version"); status != exitOK || strings.TrimSpace(stdout) == "" {
		t.Errorf("version: status %d, %q", status, stdout)
	}
}

func TestEveryCommandReadsTheSameLocalSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("local.settings.json", []byte(`{"Values": {"TABLES_NAME": "my table"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"keys", "rotate"}} {
		if status, _, stderr := start(t, nil, args...); status != exitConfig || !strings.Contains(stderr, `TABLES_NAME is "my table"`) {
			t.Errorf("%v: status %d, stderr:\n%s", args, status, stderr)
		}
	}
}

func TestASettingWithoutEffectIsNamed(t *testing.T) {
	env := complete(t, 7071)
	env["FASTMCP_SERVER_AUTH_AZURE_IDENTIFIER_URI"] = "api://x"
	env["ENTRA_AUTHORITY"] = "http://localhost:1"
	_, stdout, _ := start(t, env, "doctor")
	if !strings.Contains(stdout, "FASTMCP_SERVER_AUTH_AZURE_IDENTIFIER_URI has no effect here") {
		t.Errorf("the doctor says nothing of it:\n%s", stdout)
	}
}
