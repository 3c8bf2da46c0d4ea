package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTheSimulationIsNeverDeployed: nothing under dev, above all the simulated
// tenant, can be reached from the binary or from a package of the handler, whose
// tests alone may; and none of the tools that only tests need gets into it.
func TestTheSimulationIsNeverDeployed(t *testing.T) {
	for _, args := range [][]string{{"list", "-deps", "."}, {"list", "-deps", "./handler/..."}} {
		for _, path := range goList(t, args...) {
			if strings.HasPrefix(path, "entramcp/dev") || strings.HasPrefix(path, "entramcp/e2e") {
				t.Errorf("go %s: %s", strings.Join(args, " "), path)
			}
		}
	}
	for _, path := range goList(t, "list", "-deps", ".") {
		for _, tool := range []string{"testing", "net/http/httptest", "github.com/chromedp", "github.com/Shopify/toxiproxy", "pgregory.net/rapid", "github.com/rogpeppe", "github.com/google/go-cmp"} {
			if path == tool || strings.HasPrefix(path, tool+"/") {
				t.Errorf("the deployed binary holds %s", path)
			}
		}
	}
}

// TestImportsPointOneWay: main → handler → {authserver, resource, tools} →
// {clients, grants, entra} → {keyring, store}, with oauth for all.
func TestImportsPointOneWay(t *testing.T) {
	level := map[string]int{
		"limit": -1, "secret": -1,
		"store": 0, "oauth": 0, "config": 0, "observe": 0, "pages": 0,
		"keyring": 1, "sweep": 1,
		"clients": 2, "grants": 2, "entra": 2,
		"authserver": 3, "resource": 3, "tools": 3, "doctor": 3,
	}
	room := func(path string) string {
		rest, ok := strings.CutPrefix(path, "entramcp/handler/")
		if !ok {
			return ""
		}
		first, _, _ := strings.Cut(rest, "/")
		return first
	}
	for _, line := range goList(t, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./handler/...") {
		paths := strings.Fields(line)
		from := room(paths[0])
		for _, path := range paths[1:] {
			to := room(path)
			if from == "" || to == "" || to == from {
				continue
			}
			a, known := level[from]
			if b, alsoKnown := level[to]; known && alsoKnown && b >= a && to != "oauth" {
				t.Errorf("%s imports %s", paths[0], path)
			}
		}
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func start(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	status = run(ctx, args, func(name string) string { return env[name] }, &out, &errs)
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
	for _, args := range [][]string{{"help"}, {"serve", "now"}, {"--port=1"}} {
		if status, _, stderr := start(t, nil, args...); status != exitUsage || !strings.HasPrefix(stderr, "usage: ") {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
	}
	if status, stdout, _ := start(t, nil, "version"); status != exitOK || strings.TrimSpace(stdout) == "" {
		t.Errorf("version: status %d, %q", status, stdout)
	}
}
