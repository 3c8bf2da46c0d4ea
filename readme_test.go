package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheToolOfTheREADMECompiles: what the README tells people to write and to
// add is added to the tools and built.
func TestTheToolOfTheREADMECompiles(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n// (handler/tools/[a-z_]+\\.go)[^\n]*\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d Go blocks that name a file in handler/tools, want 2", len(blocks))
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for _, b := range blocks {
		path, text := b[1], b[2]
		// Whoever followed the README has the whole file already.
		if existing, err := os.ReadFile(path); err == nil && !strings.HasPrefix(text, "package ") {
			head := "Tools: []toolkit.Tool{\n"
			if !strings.Contains(string(existing), head) {
				t.Fatalf("%s holds no list", path)
			}
			text = strings.Replace(string(existing), head, head+text, 1)
		}
		to := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		from, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		replace[from] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", "-overlay", file, "./handler/tools").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
