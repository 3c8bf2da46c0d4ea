//go:build unix

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"entramcp/handler/clocktest"
)

// TestMakeStartSaysWhatIsMissing runs make start's script with stand-ins for
// func and Azurite, which leave notes.
func TestMakeStartSaysWhatIsMissing(t *testing.T) {
	const settings = `{"Values": {"FUNCTIONS_WORKER_RUNTIME": "custom"}}`
	for name, tt := range map[string]struct {
		settings, version string
		status            int
		says              string
	}{
		"no settings":       {"", "4.5.0", 78, "cp local.settings.json.example"},
		"another runtime":   {`{"Values": {"FUNCTIONS_WORKER_RUNTIME": "node"}}`, "4.5.0", 78, "FUNCTIONS_WORKER_RUNTIME"},
		"no func":           {settings, "", 69, "func is missing"},
		"func 3":            {settings, "3.0.5682", 69, "too old"},
		"func 4.4":          {settings, "4.4.0", 69, "too old"},
		"func 4.5":          {settings, "4.5.0", 0, ""},
		"func 4.14":         {settings, "4.14.0", 0, ""},
		"func 5":            {settings, "5.0.0-preview.3", 69, "not known to run custom handlers"},
		"Azurite is absent": {`{"Values": {"FUNCTIONS_WORKER_RUNTIME": "custom", "TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true"}}`, "4.5.0", 69, "npm ci --prefix e2e"},
	} {
		dir := funcStart(t, tt.settings, tt.version)
		out, status := runScript(t, dir)
		if status != tt.status || !strings.Contains(out, tt.says) || (tt.status != 0 && strings.Count(out, "\n") != 1) {
			t.Errorf("%s: status %d:\n%s", name, status, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "started")); (err == nil) != (tt.status == 0) {
			t.Errorf("%s: func started: %v", name, err)
		}
	}
}

// TestMakeStartEndsTheAzuriteItStarted: it runs while func does, and no longer.
func TestMakeStartEndsTheAzuriteItStarted(t *testing.T) {
	dir := funcStart(t, `{"Values": {"FUNCTIONS_WORKER_RUNTIME": "custom", "TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true"}}`, "4.14.0")
	script(t, filepath.Join(dir, "e2e/node_modules/.bin/node"), `echo $$ >azurite.pid; exec sleep 60`)
	if out, status := runScript(t, dir); status != 0 || !strings.Contains(out, "Azurite is there") {
		t.Fatalf("status %d:\n%s", status, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "azurite.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	clocktest.Eventually(t, "Azurite ends", 10*time.Second, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
}

// zombie: where nobody reaps orphans, a process that has ended stays listed.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// funcStart is a checkout with the script, and with a func of that version.
func funcStart(t *testing.T, settings, version string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("../dev/func-start.sh")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "dev/func-start.sh"), string(text), 0o755)
	if settings != "" {
		write(t, filepath.Join(dir, "local.settings.json"), settings, 0o600)
	}
	if version != "" {
		script(t, filepath.Join(dir, "bin/func"), `case "$1" in
--version) echo `+version+` ;;
start)
	touch started
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ -s azurite.pid ] && kill -0 "$(cat azurite.pid)" && echo "Azurite is there" && break
		[ -e e2e/node_modules/.bin/node ] || break
		sleep 0.2
	done ;;
esac`)
	}
	return dir
}

func runScript(t *testing.T, dir string) (output string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "dev/func-start.sh"))
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func script(t *testing.T, path, body string) { write(t, path, "#!/bin/sh\n"+body+"\n", 0o755) }

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
