package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// listed is a package of the binary, as the go command lists it.
type listed struct {
	ImportPath, Dir string
	EmbedFiles      []string
	Module          *struct{ Path string }
}

func dependencies(t *testing.T, args ...string) []listed {
	t.Helper()
	out, err := exec.Command("go", append(append([]string{"list", "-deps", "-json=ImportPath,Dir,EmbedFiles,Module"}, args...), ".")...).Output() //nolint:gosec // fixed arguments
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestRootsAreCompiledInByTagAlone: a container made from scratch has no
// certificates; the binary that azd ships does not carry any.
func TestRootsAreCompiledInByTagAlone(t *testing.T) {
	carries := func(args ...string) bool {
		return slices.ContainsFunc(dependencies(t, args...), func(p listed) bool { return strings.HasPrefix(p.ImportPath, "golang.org/x/crypto/x509roots/") })
	}
	if carries() || !carries("-tags", "roots") {
		t.Errorf("without the tag %v, with it %v", carries(), carries("-tags", "roots"))
	}
	dockerfile := read(t, "Dockerfile")
	for _, want := range []string{" -tags roots ", "FROM scratch\n", "\nUSER 65532:65532\n", "CGO_ENABLED=0"} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("Dockerfile: no %q", want)
		}
	}
}

// TestTheImageHoldsWhatTheBuildNeeds: every package of ours, and what it embeds,
// is let through by .dockerignore.
func TestTheImageHoldsWhatTheBuildNeeds(t *testing.T) {
	allowed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^!(\S+)$`).FindAllStringSubmatch(read(t, ".dockerignore"), -1) {
		allowed[m[1]] = true
	}
	if !allowed["go.mod"] || !allowed["go.sum"] || !allowed["*.go"] || !allowed["LICENSE"] {
		t.Errorf("%v", allowed)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, p := range dependencies(t, "-tags", "roots") {
		path, err := filepath.Rel(root, p.Dir)
		if err != nil || strings.HasPrefix(path, "..") {
			continue // the module cache, the standard library
		}
		ours++
		top, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		if path != "." && !allowed[top] {
			t.Errorf("%s is left out of the build", path)
		}
		for _, file := range p.EmbedFiles {
			if strings.Contains("/"+file, "/testdata/") || path == "." {
				t.Errorf("%s embeds %s, which is left out", path, file)
			}
		}
	}
	if ours < 10 {
		t.Errorf("only %d packages", ours)
	}
}

// TestVersionsAgree: a release is named alike in azure.yaml and CHANGELOG.md.
func TestVersionsAgree(t *testing.T) {
	released := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+) – \d{4}-\d{2}-\d{2}$`).FindStringSubmatch(read(t, "CHANGELOG.md"))
	if released == nil || !strings.Contains(read(t, "azure.yaml"), "\n  template: entra-mcp@"+released[1]+"\n") {
		t.Errorf("CHANGELOG.md has %q, azure.yaml another", released)
	}
}

// TestEditorsStartWhatMakeRunStarts: the files that editors and Codespaces read
// are JSON and name what there is.
func TestEditorsStartWhatMakeRunStarts(t *testing.T) {
	for path, wants := range map[string][]string{
		".vscode/mcp.json":                {`"url": "http://localhost:7071/mcp"`},
		".vscode/launch.json":             {`"program": "${workspaceFolder}/dev"`, `"args": [".bin/app"]`, `"preLaunchTask": "build the handler"`},
		".vscode/tasks.json":              {`"label": "build the handler"`, `"command": "go build -o .bin/app ."`},
		".vscode/extensions.json":         nil,
		".devcontainer/devcontainer.json": {"devcontainers/go:1.26", "7071"},
	} {
		text := read(t, path)
		if !json.Valid([]byte(text)) {
			t.Errorf("%s is not JSON", path)
		}
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s", path, want)
			}
		}
	}
	if makefile := read(t, "Makefile"); !strings.Contains(makefile, "exec .bin/dev .bin/app") {
		t.Error("make run starts something else")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
