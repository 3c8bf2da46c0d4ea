package docs

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"entramcp/handler/store"
)

// TestTheTableOfPartitionsIsComplete: every partition, or prefix of partitions,
// that a package of the handler exports has a line, and no line is of another.
func TestTheTableOfPartitionsIsComplete(t *testing.T) {
	text := read(t, "docs/architecture.md")
	_, table, _ := strings.Cut(text, "| partition | owner |")
	described := map[string]string{} // partition → owner
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 8 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		described[strings.Split(cells[1], "`")[1]] = strings.TrimSpace(cells[2])
	}
	exported := exportedPartitions(t)
	for name, pkg := range exported {
		if owner, ok := described[name]; !ok {
			t.Errorf("partition %q of package %s is not described", name, pkg)
		} else if owner != pkg && pkg != "store" {
			t.Errorf("partition %q belongs to %s, not %s", name, pkg, owner)
		}
	}
	for name := range described {
		if _, ok := exported[name]; !ok {
			t.Errorf("partition %q is described, and no package exports it", name)
		}
	}
	if len(exported) < 10 {
		t.Errorf("only %d partitions were found", len(exported))
	}
}

// exportedPartitions are the exported string constants whose names end in
// Prefix or Partition, and which a partition can be.
func exportedPartitions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "handler"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, name := range spec.Names {
				literal, ok := spec.Values[i].(*ast.BasicLit)
				if !ok || !name.IsExported() || !strings.HasSuffix(name.Name, "Prefix") && !strings.HasSuffix(name.Name, "Partition") {
					continue
				}
				value, err := strconv.Unquote(literal.Value)
				if err == nil && store.CheckKey(value, value) == nil {
					found[value] = file.Name.Name
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestTheTableOfPackagesIsTheCode: each package of the handler has one line, and the
// line names what the package imports of the others.
func TestTheTableOfPackagesIsTheCode(t *testing.T) {
	page := read(t, "docs/architecture.md")
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./handler/...")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	short := func(path string) string {
		return strings.TrimPrefix(strings.TrimPrefix(path, "entramcp/"), "handler/")
	}
	lines := 0
	for line := range strings.Lines(string(list)) {
		paths := strings.Fields(line)
		var imports []string
		for _, path := range paths[1:] {
			if strings.HasPrefix(path, "entramcp/") {
				imports = append(imports, short(path))
			}
		}
		slices.Sort(imports)
		want := cmp.Or(strings.Join(imports, ", "), "–")
		_, rest, found := strings.Cut(page, "\n| `"+short(paths[0])+"` | ")
		row, _, _ := strings.Cut(rest, "\n")
		if _, got, _ := strings.Cut(row, " | "); !found || strings.TrimSuffix(got, " |") != want {
			t.Errorf("the page says of %s %q, the code %q", short(paths[0]), got, want)
		}
		lines++
	}
	_, table, _ := strings.Cut(page, "\n| package |")
	table, _, _ = strings.Cut(table, "\n\n")
	if rows := strings.Count(table, "\n| `"); rows != lines {
		t.Errorf("the table has %d packages, the code %d", rows, lines)
	}
}
