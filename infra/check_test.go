package infra

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompilerCheckFailsOnAnyLine runs check.sh with a stand-in for the compiler:
// exit statuses are no help, since mistakes of type are warnings.
func TestCompilerCheckFailsOnAnyLine(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "infra")
	if err := os.CopyFS(filepath.Join(dir, "modules"), os.DirFS("modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "snapshots"), os.DirFS("snapshots")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"check.sh", "main.bicep", "types.bicep"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const compiler = `#!/bin/sh
case "$1" in
build) echo '{}'; printf '%s' "$BUILD" >&2 ;;
lint) printf '%s' "$LINT" ;;
format) cat "$2"; printf '%s' "$FORMAT" ;;
snapshot) echo "{$SNAPSHOT}" >"${2%.bicepparam}.snapshot.json" ;;
esac
`
	bicep := filepath.Join(root, "bicep")
	if err := os.WriteFile(bicep, []byte(compiler), 0o700); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	check := func(env ...string) (string, error) {
		cmd := exec.Command("bash", filepath.Join(dir, "check.sh")) //nolint:gosec // our script
		cmd.Env = append(os.Environ(), append(env, "BICEP="+bicep)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...) //nolint:gosec // fixed arguments
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	if out, err := check(); err == nil || !strings.Contains(out, "infra/snapshots") {
		t.Errorf("snapshots that are not committed: %v\n%s", err, out)
	}
	git("add", "-A")
	git("commit", "-q", "-m", "all")
	if out, err := check(); err != nil || out != "" {
		t.Errorf("nothing is wrong: %v\n%s", err, out)
	}
	for env, want := range map[string]string{
		"BUILD=main.bicep(1,1) : Warning BCP329: x": "BCP329",
		"LINT=main.bicep(1,1) : Warning x":          "bicep lint",
		"FORMAT=\n// added":                         "+// added",
		"SNAPSHOT=\"changed\": true":                "full.snapshot.json",
	} {
		if out, err := check(env); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", env, err, out)
		}
	}
}
