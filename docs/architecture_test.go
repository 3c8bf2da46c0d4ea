package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"entramcp/handler/store"
)

// TestTheTableOfPartitionsIsComplete: every partition, or prefix of partitions,
// that a package of the handler exports has a line, and no line is of another.
func TestTheTableOfPartitionsIsComplete(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| partition | owner |")
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
