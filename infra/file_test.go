package infra

import (
	"fmt"
	"regexp"
	"strings"
)

// template is the parsed Bicep files by their path.
type template map[string]*file

// file is what one Bicep file declares.
type file struct {
	path      string
	scope     string
	params    map[string]*param
	vars      map[string]*node
	resources map[string]*resource // nested ones as outer::inner
	modules   map[string]*module
	outputs   map[string]*node
	order     []string // of resources and modules
	problems  []string
}

type param struct {
	kind     string
	fallback *node
}

type resource struct {
	symbol, kind string // kind is Type@version
	existing     bool
	outer        *resource
	loop         loop
	condition    *node
	body         *node
	line         int
}

type module struct {
	path      string
	condition *node
	body      *node
	line      int
}

// loop is a for-expression: over is nil where there is none.
type loop struct {
	item, index string
	over        *node
}

func newFile(path string, root *node) *file {
	f := &file{path: path, scope: "resourceGroup",
		params: map[string]*param{}, vars: map[string]*node{}, resources: map[string]*resource{},
		modules: map[string]*module{}, outputs: map[string]*node{}}
	root.walk(func(n *node) bool {
		if n.Type == "ERROR" || n.Type == "MISSING" {
			f.bad(n, "syntax error")
			return false
		}
		return true
	})
	if len(f.problems) > 0 {
		return f
	}
	for _, n := range root.Children {
		switch n.Type {
		case "decorators", "import_functionality", "type_declaration":
		case "target_scope_assignment":
			f.scope = n.first("string").literal()
		case "parameter_declaration":
			in := n.inner()
			p := &param{kind: text(in[1])}
			if len(in) > 2 {
				p.fallback = in[2]
			}
			f.params[n.first("identifier").Text] = p
		case "variable_declaration":
			in := n.inner()
			f.vars[n.first("identifier").Text] = in[len(in)-1]
		case "resource_declaration":
			f.resource(n, nil)
		case "module_declaration":
			name := n.first("identifier").Text
			m := &module{path: resolve(path, n.first("string").literal()), line: n.Line}
			m.condition, m.body, _ = unwrap(n)
			f.modules[name] = m
			f.order = append(f.order, name)
		case "output_declaration":
			in := n.inner()
			f.outputs[in[0].Text] = in[len(in)-1]
		default:
			if !punctuation(n) {
				f.bad(n, "cannot read a %s", n.Type)
			}
		}
	}
	return f
}

func (f *file) resource(n *node, outer *resource) {
	r := &resource{symbol: n.first("identifier").Text, kind: n.first("string").literal(), outer: outer,
		existing: n.first("existing") != nil, line: n.Line}
	if outer != nil {
		base, version, _ := strings.Cut(outer.kind, "@")
		r.symbol, r.kind = outer.symbol+"::"+r.symbol, base+"/"+r.kind+"@"+version
	}
	r.condition, r.body, r.loop = unwrap(n)
	f.resources[r.symbol] = r
	f.order = append(f.order, r.symbol)
	for _, p := range r.body.Children {
		if inner := p.first("resource_declaration"); inner != nil {
			f.resource(inner, r)
		}
	}
}

func (f *file) bad(n *node, format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf("%s:%d: ", f.path, n.Line)+fmt.Sprintf(format, args...))
}

// unwrap takes the condition and the loop off the body of a declaration.
func unwrap(n *node) (condition, body *node, l loop) {
	for {
		switch inner := n.first("if_statement", "for_statement", "object"); {
		case inner == nil:
			return condition, &node{Type: "object"}, l
		case inner.Type == "object":
			return condition, inner, l
		case inner.Type == "if_statement":
			condition, n = inner.first("parenthesized_expression"), inner
		default:
			l, n = readLoop(inner), inner
		}
	}
}

func readLoop(n *node) loop {
	l := loop{}
	in := n.inner()
	if p := n.first("for_loop_parameters"); p != nil {
		l.item, l.index = p.first("loop_variable").Text, p.first("loop_enumerator").Text
	} else {
		l.item = n.field("initializer").Text
	}
	l.over = in[1]
	return l
}

// text is the source of n without its spaces.
func text(n *node) string {
	if len(n.Children) == 0 {
		return n.Text
	}
	var b strings.Builder
	for _, c := range n.Children {
		b.WriteString(text(c))
	}
	return b.String()
}

var lastSegment = regexp.MustCompile(`[^/]*$`)

func resolve(from, path string) string { return lastSegment.ReplaceAllString(from, "") + path }
