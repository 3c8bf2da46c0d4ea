package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTheToolOfAddAToolWorks follows add-a-tool.md in a fresh clone of what is committed:
// the blocks of the page become its files, and it is built, vetted and tested. Then the
// clone becomes a module of its own, as adopt.md says, and still builds.
func TestTheToolOfAddAToolWorks(t *testing.T) {
	page := read(t, "docs/add-a-tool.md")
	blocks := regexp.MustCompile("(?s)```go\n// ((?:handler/tools|cmd/own)/[a-z_]+\\.go)([^\n]*)\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 4 {
		t.Fatalf("%d blocks of Go that name a file, want 4", len(blocks))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	clone := filepath.Join(t.TempDir(), "clone")
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		// As make builds: what that has compiled, or an earlier clone, is not compiled again.
		cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	origin, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	run(root, "git", "clone", "-q", "--depth", "1", "file://"+origin, clone)
	for _, b := range blocks {
		path, text := filepath.Join(clone, b[1]), b[3]
		if strings.Contains(b[2], "in the list") {
			list, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			head := "Tools: []toolkit.Tool{\n"
			if !strings.Contains(string(list), head) {
				t.Fatalf("%s has no list of tools", b[1])
			}
			text = strings.Replace(string(list), head, head+text, 1)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(clone, "go", "build", "-o", "app", ".")
	run(clone, "go", "vet", "./handler/tools", "./cmd/own")
	if out := run(clone, "go", "test", "-v", "-run", "TestRollDice", "./handler/tools"); !strings.Contains(out, "--- PASS: TestRollDice") {
		t.Errorf("the page's test did not run:\n%s", out)
	}
	run(clone, "go", "test", "./handler/tools")
	if out := run(clone, "go", "run", "./cmd/own", "version"); strings.TrimSpace(out) == "" {
		t.Error("the page's own main says nothing")
	}
	run(clone, "make", "-s", "rename", "MODULE=example.com/you/my-mcp")
	run(clone, "go", "build", ".", "./cmd/own")
}
