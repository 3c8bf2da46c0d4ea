package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyNamesOfPackagesChange: what keys are derived for, and other modules, stay.
func TestOnlyNamesOfPackagesChange(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":            "module demo\n\ngo 1.26\n",
		"a/a.go":            "package a\n\nimport (\n\t\"fmt\"\n\n\t\"demo/b\"\n)\n\n// demo/b stays in a comment.\nvar _ = fmt.Sprint(b.B, \"demo/keys/v1\", \"demo/b/\", `demo/b`, \"demo\")\n",
		"b/b.go":            "package b\n\nconst B = 1\n",
		"other/go.mod":      "module other\n",
		"other/o.go":        "package o\n\nimport _ \"demo/b\"\n",
		".bin/x.go":         "package x\n\nimport _ \"demo/b\"\n",
		"node_modules/n.go": "package n\n\nimport _ \"demo/b\"\n",
	} {
		writeFile(t, filepath.Join(root, name), text)
	}
	if n, err := rename(root, "example.com/me/x"); n != 2 || err != nil {
		t.Fatalf("%d files, %v", n, err)
	}
	for name, want := range map[string]string{
		"go.mod":     "module example.com/me/x\n",
		"a/a.go":     "\t\"example.com/me/x/b\"\n)\n\n// demo/b stays in a comment.\nvar _ = fmt.Sprint(b.B, \"demo/keys/v1\", \"example.com/me/x/b/\", \"example.com/me/x/b\", \"demo\")\n",
		"other/o.go": `"demo/b"`, ".bin/x.go": `"demo/b"`, "node_modules/n.go": `"demo/b"`,
	} {
		if text, err := os.ReadFile(filepath.Join(root, name)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %s, %v", name, text, err)
		}
	}
	for _, bad := range []string{"", "/x", "a b", "http://x", "X"} {
		if _, err := rename(root, bad); err == nil {
			t.Errorf("%q is taken for a module path", bad)
		}
	}
}

// TestWhatAnUpgradeBringsIsRenamedToo: a merge adds files that import the original path.
func TestWhatAnUpgradeBringsIsRenamedToo(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/me/x\n",
		"a/a.go": "package a\n\nimport _ \"example.com/me/x/b\"\n",
		"b/b.go": "package b\n",
		"c/c.go": "package c\n\nimport _ \"entramcp/b\"\n",
	} {
		writeFile(t, filepath.Join(root, name), text)
	}
	if n, err := rename(root, "example.com/me/x"); n != 2 || err != nil {
		t.Fatalf("%d files, %v", n, err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "c/c.go")); err != nil || !strings.Contains(string(text), `"example.com/me/x/b"`) {
		t.Errorf("the new file is %s, %v", text, err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
