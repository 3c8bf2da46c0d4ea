package infra

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// lambda is the argument of map and the like.
type lambda struct {
	param string
	body  *node
}

// value evaluates an expression. Only the branch taken of a ternary is, as
// Resource Manager does it.
func (s *scope) value(n *node) any {
	switch n.Type {
	case "string":
		return s.text(n)
	case "number":
		i, err := strconv.Atoi(text(n))
		if err != nil {
			return s.bad(n, "%v", err)
		}
		return i
	case "boolean":
		return text(n) == "true"
	case "null":
		return nil
	case "identifier":
		return s.symbol(n.Text, n)
	case "object":
		return s.object(n)
	case "array":
		list := []any{}
		for _, c := range n.inner() {
			list = append(list, s.value(c))
		}
		return list
	case "for_statement":
		return s.repeat(n)
	case "parenthesized_expression":
		return s.value(n.inner()[0])
	case "ternary_expression":
		if s.truth(n.field("condition")) {
			return s.value(n.field("consequence"))
		}
		return s.value(n.field("alternative"))
	case "unary_expression":
		if operator := text(n.field("operator")); operator != "!" {
			return s.bad(n, "cannot evaluate %s", operator)
		}
		return !s.truth(n.field("argument"))
	case "binary_expression":
		return s.binary(n)
	case "call_expression":
		return s.call(n)
	case "lambda_expression":
		in := n.inner()
		return lambda{in[0].Text, in[len(in)-1]}
	case "member_expression":
		return s.member(n)
	case "subscript_expression":
		return s.index(n)
	case "resource_expression":
		return s.symbol(n.field("object").Text+"::"+n.field("resource").Text, n)
	}
	return s.bad(n, "cannot evaluate a %s", n.Type)
}

func (s *scope) truth(n *node) bool {
	b, ok := s.value(n).(bool)
	if !ok {
		s.bad(n, "%s is no bool", text(n))
	}
	return b
}

func (s *scope) text(n *node) string {
	var b strings.Builder
	for _, c := range n.Children {
		switch c.Type {
		case "string_content":
			b.WriteString(c.Text)
		case "interpolation":
			v := s.value(c.inner()[0])
			switch v.(type) {
			case string, int, bool:
				fmt.Fprint(&b, v)
			default:
				s.bad(c, "%s is %s inside a string", text(c.inner()[0]), kindOf(v))
			}
		case "escape_sequence":
			b.WriteString(strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\`, "").Replace(c.Text))
		}
	}
	return b.String()
}

func (s *scope) object(n *node) map[string]any {
	o := map[string]any{}
	for _, p := range n.Children {
		if p.Type != "object_property" || p.first("resource_declaration") != nil {
			continue
		}
		in := p.inner()
		key := in[0].Text
		if in[0].Type == "string" {
			key = s.text(in[0])
		}
		o[key] = s.value(in[len(in)-1])
	}
	return o
}

func (s *scope) repeat(n *node) any {
	l := readLoop(n)
	items, ok := s.value(l.over).([]any)
	if !ok {
		return s.bad(n, "%s is no array", text(l.over))
	}
	out := []any{}
	for i, item := range items {
		inner := s.with(l.item, item)
		if l.index != "" {
			inner.locals[l.index] = i
		}
		out = append(out, inner.value(n.field("body")))
	}
	return out
}

func (s *scope) with(name string, v any) *scope {
	inner := *s
	inner.locals = maps.Clone(s.locals)
	inner.locals[name] = v
	return &inner
}

func (s *scope) binary(n *node) any {
	operator := text(n.field("operator"))
	switch operator {
	case "&&":
		return s.truth(n.field("left")) && s.truth(n.field("right"))
	case "||":
		return s.truth(n.field("left")) || s.truth(n.field("right"))
	}
	left, right := s.value(n.field("left")), s.value(n.field("right"))
	switch operator {
	case "==":
		return left == right
	case "!=":
		return left != right
	case ">":
		return number(left) > number(right)
	case "-":
		return number(left) - number(right)
	}
	return s.bad(n, "cannot evaluate %s", operator)
}

func number(v any) int {
	i, _ := v.(int)
	return i
}

func (s *scope) index(n *node) any {
	of, at := s.value(n.field("object")), s.value(n.field("index"))
	switch of := of.(type) {
	case map[string]any:
		if v, ok := of[fmt.Sprint(at)]; ok {
			return v
		}
	case []any:
		if i, ok := at.(int); ok && i < len(of) {
			return of[i]
		}
	}
	return s.bad(n, "%s has no %v", text(n.field("object")), at)
}

func (s *scope) member(n *node) any {
	name := n.field("property").Text
	switch of := s.value(n.field("object")).(type) {
	case map[string]any:
		if v, ok := of[name]; ok {
			return v
		}
		return s.bad(n, "%s has no %s", text(n.field("object")), name)
	case *instance:
		return s.property(n, of, name)
	case running:
		return s.property(n, of.instance, of.path+"."+name)
	case notDeployed:
		return s.bad(n, "%s is not deployed here, and its %s is used", of.symbol, name)
	case nil: // reported where it arose
		return nil
	default:
		return s.bad(n, "%s has no %s", kindOf(of), name)
	}
}
