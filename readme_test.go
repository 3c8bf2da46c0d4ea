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
		if existing, err := os.ReadFile(path); err == nil {
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

// TestEachSettingIsDocumented: every setting the server reads has its name in
// the README.
func TestEachSettingIsDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("handler/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	platform := map[string]bool{"WEBSITE_HOSTNAME": true, "FUNCTIONS_CUSTOMHANDLER_PORT": true, "AZURE_CLIENT_ID": true}
	read := regexp.MustCompile(`r\.(?:text|textOr|list|port|seconds|duration|level)\("([A-Z_]+)"`)
	found := 0
	for _, path := range sources {
		code, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range read.FindAllStringSubmatch(string(code), -1) {
			found++
			name := m[1]
			if !platform[name] && !strings.Contains(string(readme), "`"+name+"`") {
				t.Errorf("%s is not in the README", name)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d settings found", found)
	}
}
