package infra

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// deployment evaluates a template for one set of parameters. Problems are
// collected: one mistake does not hide the next.
type deployment struct {
	template  template
	facts     facts
	cloud     string
	instances []*instance
	problems  []string
	outputs   map[string]any
}

// instance is one resource as Resource Manager would be told of it.
type instance struct {
	kind   string // Type@version
	symbol string
	name   string
	id     string
	where  string // file:line
	body   map[string]any
	scope  any
	parent *instance
	module string
	group  string // id of the resource group of its module
}

// scope is where an expression is evaluated.
type scope struct {
	d       *deployment
	file    *file
	params  map[string]any
	locals  map[string]any
	done    map[string]any // variables, resources and modules that were evaluated
	pending map[string]bool
	group   string // id of the resource group that it deploys to
}

// notDeployed stands for a resource or module whose condition is false.
type notDeployed struct{ symbol string }

func (d *deployment) bad(format string, args ...any) {
	if p := fmt.Sprintf(format, args...); !slices.Contains(d.problems, p) {
		d.problems = append(d.problems, p)
	}
}

// run deploys the file at path and returns its outputs.
func (d *deployment) run(path string, given map[string]any, where, group string) map[string]any {
	f, ok := d.template[path]
	if !ok {
		d.bad("%s: there is no module %s", where, path)
		return nil
	}
	d.problems = append(d.problems, f.problems...)
	s := &scope{d: d, file: f, params: map[string]any{}, locals: map[string]any{}, done: map[string]any{}, pending: map[string]bool{}, group: group}
	for _, name := range slices.Sorted(maps.Keys(f.params)) {
		p := f.params[name]
		v, ok := given[name]
		if !ok && p.fallback == nil {
			d.bad("%s: the parameter %s of %s has no value", where, name, path)
			continue
		} else if !ok {
			v = s.value(p.fallback)
		}
		s.params[name] = v
	}
	for _, name := range f.order {
		s.symbol(name, nil)
	}
	outputs := map[string]any{}
	for name, value := range f.outputs {
		outputs[name] = s.value(value)
	}
	return outputs
}

func (s *scope) bad(n *node, format string, args ...any) any {
	line := 0
	if n != nil {
		line = n.Line
	}
	s.d.bad("%s:%d: %s", s.file.path, line, fmt.Sprintf(format, args...))
	return nil
}

// symbol evaluates what name stands for.
func (s *scope) symbol(name string, at *node) any {
	if v, ok := s.locals[name]; ok {
		return v
	}
	if v, ok := s.params[name]; ok {
		return v
	}
	if v, ok := s.done[name]; ok {
		return v
	}
	if s.pending[name] {
		return s.bad(at, "%s depends on itself", name)
	}
	s.pending[name] = true
	defer delete(s.pending, name)
	var v any
	switch f := s.file; {
	case f.vars[name] != nil:
		v = s.value(f.vars[name])
	case f.modules[name] != nil:
		v = s.module(name, f.modules[name])
	case f.resources[name] != nil:
		v = s.resources(f.resources[name])
	case f.params[name] != nil:
		return nil // reported as a parameter without a value
	default:
		return s.bad(at, "%s is not declared", name)
	}
	s.done[name] = v
	return v
}

func (s *scope) module(name string, m *module) any {
	if m.condition != nil && s.value(m.condition) != true {
		return notDeployed{name}
	}
	body, _ := s.value(m.body).(map[string]any)
	where := fmt.Sprintf("%s:%d", s.file.path, m.line)
	given, _ := body["params"].(map[string]any)
	target, ok := body["scope"].(*instance)
	if s.file.scope == "subscription" && (!ok || !strings.HasPrefix(target.kind, "Microsoft.Resources/resourceGroups@")) {
		s.d.bad("%s: the module %s needs a resource group as scope", where, name)
		target = &instance{}
	}
	return map[string]any{"outputs": s.d.run(m.path, given, where, target.id)}
}

func (s *scope) resources(r *resource) any {
	if r.condition != nil && s.value(r.condition) != true {
		return notDeployed{r.symbol}
	}
	if r.loop.over == nil {
		return s.resource(r)
	}
	items, _ := s.value(r.loop.over).([]any)
	all := []any{}
	for i, item := range items {
		inner := *s
		inner.locals = maps.Clone(s.locals)
		inner.locals[r.loop.item] = item
		if r.loop.index != "" {
			inner.locals[r.loop.index] = i
		}
		all = append(all, inner.resource(r))
	}
	return all
}

func (s *scope) resource(r *resource) *instance {
	body, _ := s.value(r.body).(map[string]any)
	in := &instance{kind: r.kind, symbol: r.symbol, body: body, where: fmt.Sprintf("%s:%d", s.file.path, r.line), module: s.file.path, scope: body["scope"], group: s.group}
	in.name, _ = body["name"].(string)
	base, _, _ := strings.Cut(r.kind, "@")
	if p, ok := body["parent"].(*instance); ok {
		in.parent = p
	} else if r.outer != nil {
		in.parent, _ = s.symbol(r.outer.symbol, r.body).(*instance)
	}
	in.id = in.resourceID(base)
	delete(body, "scope")
	delete(body, "parent")
	if !r.existing {
		s.d.instances = append(s.d.instances, in)
	}
	return in
}

func (in *instance) resourceID(base string) string {
	switch target, _ := in.scope.(*instance); {
	case in.parent != nil:
		return in.parent.id + base[strings.LastIndex(base, "/"):] + "/" + in.name
	case target != nil:
		return target.id + "/providers/" + base + "/" + in.name
	case base == "Microsoft.Resources/resourceGroups":
		return "/subscriptions/" + subscriptionID + "/resourceGroups/" + in.name
	}
	return in.group + "/providers/" + base + "/" + in.name
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case int:
		return "int"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case nil:
		return "null"
	}
	return fmt.Sprintf("%T", v)
}
