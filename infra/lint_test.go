package infra

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// hardCoded are the hosts that environment() knows: the rule
// no-hardcoded-env-urls, which is an error in bicepconfig.json.
var hardCoded = regexp.MustCompile(`(?i)(login\.microsoftonline\.(com|us)|core\.(windows|usgovcloudapi)\.net|vault\.azure\.net|management\.azure\.com|graph\.windows\.net)`)

// lint finds what needs no evaluation: names nobody declared or uses, in
// whichever branch, and hosts of one cloud.
func (f *file) lint() []string {
	var problems []string
	bad := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s:%d: ", f.path, line)+fmt.Sprintf(format, args...))
	}
	used, locals := f.names()
	for name, line := range used {
		switch {
		case f.lines[name] != 0 || locals[name]:
		default:
			bad(line, "%s is not declared", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.lines)) {
		_, isUsed := used[name]
		r := f.resources[name]
		if !isUsed && (f.params[name] != nil || f.vars[name] != nil || (r != nil && r.existing)) {
			bad(f.lines[name], "%s is not used", name)
		}
	}
	known := functions()
	for _, decorator := range []string{"description", "minLength", "maxLength", "minValue", "maxValue", "allowed", "metadata", "batchSize", "secure"} {
		known[decorator] = function{}
	}
	f.root.walk(func(n *node) bool {
		switch {
		case n.Type == "string_content" && hardCoded.MatchString(n.Text):
			bad(n.Line, "%q is the host of one cloud; use environment()", n.Text)
		case n.Field == "function":
			if _, ok := known[n.Text]; !ok {
				bad(n.Line, "there is no function %s, or the tests do not know it", n.Text)
			}
		}
		return true
	})
	return problems
}

// names are the identifiers in expressions, with a line where each is used, and
// those that loops and lambdas declare.
func (f *file) names() (used map[string]int, locals map[string]bool) {
	used, locals = map[string]int{}, map[string]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		skip := (*node)(nil) // the child that is a name being declared, or a key
		switch n.Type {
		case "identifier":
			if n.Field != "function" {
				used[n.Text] = n.Line
			}
			return
		case "parameter_declaration", "variable_declaration", "resource_declaration", "module_declaration", "output_declaration", "object_property":
			skip = n.first("identifier")
			if n.Type == "object_property" && len(n.inner()) > 0 && n.inner()[0] != skip {
				skip = nil // the key is a string
			}
		case "lambda_expression":
			skip = n.inner()[0]
			locals[skip.Text] = true
		case "for_statement":
			l := readLoop(n)
			locals[l.item], locals[l.index] = true, true
			skip = n.field("initializer")
		case "resource_expression":
			used[n.field("object").Text] = n.Line
			if inner := f.resources[strings.Join([]string{n.field("object").Text, n.field("resource").Text}, "::")]; inner == nil {
				used[text(n)] = n.Line
			}
			return
		}
		for _, c := range n.Children {
			if c != skip {
				visit(c)
			}
		}
	}
	visit(f.root)
	return used, locals
}
