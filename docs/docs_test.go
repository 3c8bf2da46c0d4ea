// Package docs holds the documentation to what there is.
package docs

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const root = ".."

var (
	testName = regexp.MustCompile(`\b(?:([a-z0-9]+)\.)?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)\b`)
	// A file of ours in backquotes, or where a link leads.
	filePath     = regexp.MustCompile("`((?:handler|dev|e2e|infra|docs|bench)/[A-Za-z0-9_./-]+)`")
	fenced       = regexp.MustCompile("(?s)```.*?```")
	sectionLink  = regexp.MustCompile(`\]\(([^)#:\s]*)#([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInSection = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	link         = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
)

// TestEveryTestNamedInTheDocsExists: a promise whose proof was renamed or
// deleted is no promise.
func TestEveryTestNamedInTheDocsExists(t *testing.T) {
	tests := testsByPackage(t)
	anywhere := map[string]bool{}
	for _, names := range tests {
		for name := range names {
			anywhere[name] = true
		}
	}
	named := 0
	for file, text := range pages(t) {
		text = fenced.ReplaceAllString(text, "") // what a reader is to write
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			named++
			if pkg, name := m[1], m[2]; pkg == "" && !anywhere[name] || pkg != "" && !tests[pkg][name] {
				t.Errorf("%s names %s, which does not exist", file, m[0])
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d tests are named", named)
	}
}

func TestEveryFileNamedInTheDocsExists(t *testing.T) {
	named := 0
	for file, text := range pages(t) {
		var paths []string
		for _, m := range filePath.FindAllStringSubmatch(text, -1) {
			paths = append(paths, filepath.Join(root, m[1]))
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			paths = append(paths, filepath.Join(filepath.Dir(file), m[1]))
		}
		for _, path := range paths {
			named++
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s names %s: %v", file, path, err)
			}
		}
	}
	if named < 30 {
		t.Errorf("only %d files are named", named)
	}
}

// TestEveryLinkToASectionFindsIt: a heading that is renamed takes its links with it.
func TestEveryLinkToASectionFindsIt(t *testing.T) {
	all, linked := pages(t), 0
	for file, text := range all {
		for _, m := range sectionLink.FindAllStringSubmatch(text, -1) {
			to := file
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(file), m[1])
			}
			target, known := all[to]
			if !known && filepath.Dir(to) == filepath.Join(root, "docs") {
				target, known = all[filepath.Base(to)]
			}
			if !known {
				t.Errorf("%s links to a section of %s, which is no page", file, to)
				continue
			}
			linked++
			if !slices.Contains(sections(target), m[2]) {
				t.Errorf("%s links to %s#%s, and there is no such section", file, to, m[2])
			}
		}
	}
	if linked < 40 {
		t.Errorf("only %d links to sections", linked)
	}
}

// sections are the names by which links find the headings of a page, as GitHub
// makes them.
func sections(page string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		name := notInSection.ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// TestEveryPromiseNamesItsProof: each line of the tables has all three columns,
// and a test in the last.
func TestEveryPromiseNamesItsProof(t *testing.T) {
	text := read(t, "docs/security.md")
	promises := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise ") || strings.HasPrefix(line, "| threat ") {
			continue
		}
		promises++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 3 || !testName.MatchString(cells[2]) {
			t.Errorf("no proof: %s", line)
		}
	}
	if promises < 40 {
		t.Errorf("only %d promises", promises)
	}
}

// TestEveryPromiseIsCalled: what the server as it is deployed never runs keeps no
// promise, though a test of its own may pass. The tools that others write are the
// callers of package toolkit.
func TestEveryPromiseIsCalled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	deployed := map[string]bool{}
	for pkg := range strings.FieldsSeq(string(run("list", "-deps", "."))) {
		deployed[pkg] = true
	}
	module := strings.TrimSpace(string(run("list", "-m")))
	text := read(t, "docs/security.md")
	promised := 0
	for _, m := range filePath.FindAllStringSubmatch(text, -1) {
		if dir, file := path.Split(m[1]); strings.HasPrefix(dir, "handler/") && strings.HasSuffix(file, ".go") {
			promised++
			if pkg := module + "/" + path.Clean(dir); !deployed[pkg] {
				t.Errorf("a promise rests on %s, and the deployed program has no package %s", m[1], pkg)
			}
		}
	}
	if promised < 60 {
		t.Errorf("the promises name only %d files", promised)
	}
	var packages []struct {
		Path  string
		Funcs []struct {
			Name     string
			Position struct {
				File string
				Line int
			}
		}
	}
	if err := json.Unmarshal(run("tool", "-modfile", "tools/lint/go.mod", "deadcode", "-json", "."), &packages); err != nil {
		t.Fatal(err)
	}
	for _, pkg := range packages {
		if pkg.Path == module+"/handler/toolkit" {
			continue
		}
		for _, f := range pkg.Funcs {
			// A value that nobody logs still says how it would be logged.
			if !strings.HasSuffix(f.Name, ".LogValue") {
				t.Errorf("%s:%d: nothing in the deployed program calls %s", f.Position.File, f.Position.Line, f.Name)
			}
		}
	}
}

// pages are the documents by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	files = append(files, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	return all
}

// testsByPackage are the tests, fuzz tests and benchmarks there are, by the
// name of their package.
func testsByPackage(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := strings.TrimSuffix(parsed.Name.Name, "_test")
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !testName.MatchString(f.Name.Name) {
				continue
			}
			if all[pkg] == nil {
				all[pkg] = map[string]bool{}
			}
			all[pkg][f.Name.Name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
