// Package docs holds the documentation to what there is.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = ".."

var (
	testName = regexp.MustCompile(`\b(?:([a-z0-9]+)\.)?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)\b`)
	// A file of ours in backquotes, or where a link leads.
	filePath = regexp.MustCompile("`((?:handler|dev|e2e|infra|docs|bench)/[A-Za-z0-9_./-]+)`")
	fenced   = regexp.MustCompile("(?s)```.*?```")
	link     = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
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

// TestEveryPromiseNamesItsProof: each line of the tables has all three columns,
// and a test in the last.
func TestEveryPromiseNamesItsProof(t *testing.T) {
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	promises := 0
	for line := range strings.Lines(string(text)) {
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

// pages are the documents by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	files = append(files, "../README.md")
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
