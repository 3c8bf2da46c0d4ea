package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The flags of a property in the published definitions.
const (
	required = 1
	readOnly = 2
)

// facts are testdata/types.json, which testdata/distil.mjs wrote.
type facts struct {
	Resources map[string]string
	Types     map[string]objectFact
}

type objectFact struct {
	Properties    map[string]propertyFact
	Additional    *typeFact
	Discriminator string
	Variants      map[string]string
}

type propertyFact struct {
	Type  typeFact
	Flags int
}

// typeFact is one of string, int, bool, any and unread by name, or one of the
// rest.
type typeFact struct {
	Name    string
	Literal *string
	Union   []typeFact
	Array   *typeFact
	Ref     string
	String  *struct {
		MinLength, MaxLength int
		Pattern              string
	}
}

func (t *typeFact) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &t.Name)
	}
	type plain typeFact
	return json.Unmarshal(b, (*plain)(t))
}

func readFacts(tb testing.TB) facts {
	tb.Helper()
	var f facts
	b, err := os.ReadFile("testdata/types.json")
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// body finds the type of a resource; names of types know no case.
func (f facts) body(kind string) (string, bool) {
	for name, ref := range f.Resources {
		if strings.EqualFold(name, kind) {
			return ref, true
		}
	}
	return "", false
}

// check holds an instance against its type.
func (f facts) check(in *instance, bad func(string, ...any)) {
	ref, ok := f.body(in.kind)
	if !ok {
		bad("%s: %s is not among the published types in testdata/types.json", in.where, in.kind)
		return
	}
	f.object(ref, in.body, func(path, format string, args ...any) {
		base, _, _ := strings.Cut(in.kind, "@")
		bad("%s: %s%s %s", in.where, base, path, fmt.Sprintf(format, args...))
	}, "")
}

type reporter func(path, format string, args ...any)

func (f facts) object(ref string, body map[string]any, bad reporter, path string) {
	fact := f.Types[ref]
	known := map[string]propertyFact{}
	maps.Copy(known, fact.Properties)
	additional := fact.Additional
	if fact.Discriminator != "" {
		value, _ := body[fact.Discriminator].(string)
		variant, ok := fact.Variants[value]
		if !ok {
			bad(path+"."+fact.Discriminator, "may not be %q", value)
			return
		}
		maps.Copy(known, f.Types[variant].Properties)
		additional = f.Types[variant].Additional
	}
	for name, v := range body {
		p, ok := known[name]
		switch {
		case !ok && additional != nil:
			f.value(*additional, v, bad, path+"."+name)
		case !ok:
			bad(path+"."+name, "does not exist")
		case p.Flags&readOnly != 0:
			bad(path+"."+name, "is read-only")
		case v != nil:
			f.value(p.Type, v, bad, path+"."+name)
		}
	}
	for name, p := range known {
		if p.Flags&required != 0 && p.Flags&readOnly == 0 && body[name] == nil {
			bad(path+"."+name, "is required")
		}
	}
}

func (f facts) value(t typeFact, v any, bad reporter, path string) {
	switch {
	case t.Name == "any":
	case t.Name == "unread":
		bad(path, "has no facts; run testdata/distil.mjs again")
	case t.Name != "":
		if kindOf(v) != t.Name {
			bad(path, "is %s, not %s", kindOf(v), t.Name)
		}
	case t.Literal != nil:
		if v != *t.Literal {
			bad(path, "is %v, not %q", v, *t.Literal)
		}
	case t.Union != nil:
		f.union(t, v, bad, path)
	case t.Array != nil:
		list, ok := v.([]any)
		if !ok {
			bad(path, "is %s, not array", kindOf(v))
		}
		for i, item := range list {
			f.value(*t.Array, item, bad, fmt.Sprintf("%s[%d]", path, i))
		}
	case t.String != nil:
		f.limited(t, v, bad, path)
	default:
		o, ok := v.(map[string]any)
		if !ok {
			bad(path, "is %s, not object", kindOf(v))
			return
		}
		f.object(t.Ref, o, bad, path)
	}
}

// union is stricter than the definitions, in which most lists of values end in
// "or any string": values that Azure learned since are added to the facts.
func (f facts) union(t typeFact, v any, bad reporter, path string) {
	var allowed []any
	for _, e := range t.Union {
		if e.Literal != nil {
			allowed = append(allowed, *e.Literal)
		}
	}
	if !slices.Contains(allowed, v) {
		bad(path, "may not be %v; one of %v", v, allowed)
	}
}

func (f facts) limited(t typeFact, v any, bad reporter, path string) {
	s, ok := v.(string)
	if !ok {
		bad(path, "is %s, not string", kindOf(v))
		return
	}
	if n := utf8.RuneCountInString(s); n < t.String.MinLength || (t.String.MaxLength > 0 && n > t.String.MaxLength) {
		bad(path, "is %q, which is too short or too long", s)
	}
	if p, err := regexp.Compile(t.String.Pattern); err != nil || !p.MatchString(s) {
		bad(path, "is %q, which does not match %s", s, t.String.Pattern)
	}
}

// readable says what is wrong with reading the property at path.
func (f facts) readable(kind, path string) string {
	ref, ok := f.body(kind)
	if !ok {
		return kind + " is not among the published types"
	}
	for name := range strings.SplitSeq(path, ".") {
		p, ok := f.Types[ref].Properties[name]
		if !ok {
			return fmt.Sprintf("%s has no %s", kind, path)
		}
		ref = p.Type.Ref
	}
	return ""
}
