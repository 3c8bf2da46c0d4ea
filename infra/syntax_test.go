// Package entramcp/infra checks the Bicep, azd's files and host.json. No Bicep
// compiler can be had where these tests run, so they parse the Bicep with
// tree-sitter, evaluate it for several sets of parameters as Resource Manager
// would, and hold every resource that comes out against facts distilled from
// the published type definitions.
package infra

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// node is one node of a syntax tree, as testdata/parse.mjs prints it.
type node struct {
	Type     string
	Field    string
	Text     string
	Line     int
	Children []*node
}

// nodeBinary is the Node that the tests of other packages run, too.
const nodeBinary = "../e2e/node_modules/.bin/node"

// parseFiles runs testdata/parse.mjs on files and returns what it printed.
func parseFiles(tb testing.TB, paths ...string) map[string]json.RawMessage {
	tb.Helper()
	if _, err := os.Stat(nodeBinary); err != nil {
		tb.Fatalf("%v; run: npm ci --prefix e2e", err)
	}
	cmd := exec.Command(nodeBinary, append([]string{"testdata/parse.mjs"}, paths...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("testdata/parse.mjs: %v\n%s", err, stderr.String())
	}
	var parsed map[string]json.RawMessage
	if err := json.Unmarshal(out, &parsed); err != nil {
		tb.Fatal(err)
	}
	return parsed
}

// sources are the Bicep files by their path below infra.
type sources map[string]string

func readSources(tb testing.TB) sources { return readSourcesIn(tb, ".") }

func readSourcesIn(tb testing.TB, dir string) sources {
	tb.Helper()
	paths, err := filepath.Glob(dir + "/modules/*.bicep")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no modules (%v)", err)
	}
	s := sources{}
	for _, p := range append(paths, dir+"/main.bicep") {
		text, err := os.ReadFile(p)
		if err != nil {
			tb.Fatal(err)
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			tb.Fatal(err)
		}
		s[filepath.ToSlash(name)] = string(text)
	}
	return s
}

// parseAll parses several variants of the sources in one run of Node.
func parseAll(tb testing.TB, variants ...sources) []template {
	tb.Helper()
	var paths []string
	at := map[string]string{} // from source text to the file that holds it
	dir := tb.TempDir()
	for _, variant := range variants {
		for _, text := range variant {
			if at[text] != "" {
				continue
			}
			p := filepath.Join(dir, strings.Repeat("x", len(paths)+1)+".bicep")
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				tb.Fatal(err)
			}
			at[text], paths = p, append(paths, p)
		}
	}
	parsed := parseFiles(tb, paths...)
	templates := make([]template, len(variants))
	for i, variant := range variants {
		templates[i] = template{}
		for name, text := range variant {
			var root node
			if err := json.Unmarshal(parsed[at[text]], &root); err != nil {
				tb.Fatal(err)
			}
			templates[i][name] = newFile(name, reassociate(&root))
		}
	}
	return templates
}

// parsedTemplate is the template, parsed once: evaluating does not change it.
func parsedTemplate(tb testing.TB) template {
	tb.Helper()
	parseOnce.Do(func() { parsedOnce = parseAll(tb, readSources(tb))[0] })
	if parsedOnce == nil {
		tb.Fatal("the template does not parse")
	}
	return parsedOnce
}

var (
	parseOnce  sync.Once
	parsedOnce template
)

// reassociate corrects what the grammar gets wrong: it reads "x => x.y" as
// "(x => x).y", and "a ? b : c.d" as "(a ? b : c).d".
func reassociate(n *node) *node {
	for i, c := range n.Children {
		n.Children[i] = reassociate(c)
	}
	if n.Type != "member_expression" {
		return n
	}
	object := n.field("object")
	if object.Type != "lambda_expression" && object.Type != "ternary_expression" {
		return n
	}
	last := len(object.Children) - 1
	inner := object.Children[last]
	role := inner.Field
	inner.Field, n.Field = "object", role
	outer := *object
	outer.Field = ""
	for i, c := range n.Children {
		if c == object {
			n.Children[i] = inner
		}
	}
	outer.Children[last] = reassociate(n)
	return &outer
}

// first is the first child of one of the types.
func (n *node) first(types ...string) *node {
	for _, c := range n.Children {
		if slices.Contains(types, c.Type) {
			return c
		}
	}
	return nil
}

func (n *node) field(name string) *node {
	for _, c := range n.Children {
		if c.Field == name {
			return c
		}
	}
	return nil
}

// inner are the children that are no punctuation.
func (n *node) inner() []*node {
	var out []*node
	for _, c := range n.Children {
		if !punctuation(c) {
			out = append(out, c)
		}
	}
	return out
}

func punctuation(n *node) bool {
	return len(n.Children) == 0 && (n.Text == n.Type || n.Type == "\n" || strings.TrimSpace(n.Text) == "") &&
		!slices.Contains([]string{"null", "true", "false"}, n.Text) && n.Type != "string_content"
}

// walk calls visit for n and everything below it until visit returns false.
func (n *node) walk(visit func(*node) bool) {
	if !visit(n) {
		return
	}
	for _, c := range n.Children {
		c.walk(visit)
	}
}

// literal is the text of a string without interpolation.
func (n *node) literal() string {
	var b strings.Builder
	for _, c := range n.Children {
		if c.Type == "string_content" {
			b.WriteString(c.Text)
		}
	}
	return b.String()
}
