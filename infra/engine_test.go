package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// snapshot is what "bicep snapshot" writes: every resource as the deployment
// engine's own evaluator leaves it. What only a deployment knows stays an
// expression.
type snapshot struct {
	PredictedResources []map[string]any
	Outputs            map[string]any
}

// TestEvaluatorAgreesWithTheEngine holds the evaluator of these tests against
// snapshots that Bicep CLI 0.49.2 wrote: those of testdata/engine, an earlier
// state of this template, and any beside the parameter files in snapshots.
func TestEvaluatorAgreesWithTheEngine(t *testing.T) {
	compared := 0
	for _, at := range []struct{ template, snapshots string }{{"testdata/engine", "testdata/engine"}, {".", "snapshots"}} {
		files, err := filepath.Glob(at.snapshots + "/*.snapshot.json")
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			continue
		}
		parsed := parseAll(t, readSourcesIn(t, at.template))[0]
		for _, path := range files {
			t.Run(path, func(t *testing.T) {
				compared++
				compareWithEngine(t, parsed, path)
			})
		}
	}
	if compared < 2 {
		t.Errorf("only %d snapshots", compared)
	}
}

func compareWithEngine(t *testing.T, parsed template, path string) {
	t.Helper()
	var want snapshot
	readJSON(t, path, &want)
	d := &deployment{template: parsed, cloud: "AzureCloud"}
	params := readParameterSet(t, strings.TrimSuffix(path, ".snapshot.json")+".bicepparam")
	outputs := d.run("main.bicep", params, path, "")
	for _, p := range d.problems {
		t.Error(p)
	}

	resolve := resolver(t, d, want)
	byName := map[string]*instance{}
	for _, in := range d.instances {
		byName[in.key()] = in
	}
	for _, resource := range want.PredictedResources {
		resource, _ = resolve(resource).(map[string]any)
		kind, name := str(resource["type"]), str(resource["name"])
		id, body := str(resource["id"]), resource
		graph := strings.HasPrefix(kind, "Microsoft.Graph/")
		if graph {
			kind, _, _ = strings.Cut(kind, "@")
			body, _ = resource["properties"].(map[string]any)
			name = str(body["name"])
		}
		in := byName[strings.ToLower(kind)+" "+name+strings.ToLower(extended(id, kind))]
		if in == nil {
			t.Errorf("the engine has %s %s, the evaluator has not", kind, name)
			continue
		}
		delete(byName, in.key())
		got := maps.Clone(in.body)
		if !graph {
			_, version, _ := strings.Cut(in.kind, "@")
			maps.Copy(got, map[string]any{"type": resource["type"], "apiVersion": version, "name": name, "id": id})
			if !strings.HasPrefix(id, "[") && !strings.EqualFold(in.id, id) {
				t.Errorf("%s: id %s, the engine's %s", in.where, in.id, id)
			}
		}
		if diff := cmp.Diff(body, asJSON(t, got), sameID); diff != "" {
			t.Errorf("%s: %s (- engine, + evaluator)\n%s", in.where, kind, diff)
		}
	}
	for key := range byName {
		t.Errorf("the evaluator has %s, the engine has not", key)
	}
	if diff := cmp.Diff(resolve(want.Outputs), asJSON(t, outputs), sameID); diff != "" {
		t.Errorf("outputs (- engine, + evaluator)\n%s", diff)
	}
}

// sameID: the compiler writes types in ids as they were published, and ids know
// no case.
var sameID = cmp.FilterValues(
	func(a, b string) bool {
		return strings.HasPrefix(a, "/subscriptions/") && strings.HasPrefix(b, "/subscriptions/")
	},
	cmp.Comparer(strings.EqualFold))

// key tells instances of one deployment apart.
func (in *instance) key() string {
	kind, _, _ := strings.Cut(in.kind, "@")
	name := in.name
	for p := in.parent; p != nil; p = p.parent {
		name = p.name + "/" + name
	}
	return strings.ToLower(kind) + " " + name + strings.ToLower(extended(in.id, kind))
}

// extended is the resource that an extension resource belongs to.
func extended(id, kind string) string {
	if strings.Count(id, "/providers/") < 2 {
		return ""
	}
	return " on " + id[:strings.LastIndex(strings.ToLower(id), "/providers/"+strings.ToLower(kind))]
}

// asJSON turns numbers and named types into what encoding/json reads.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	var out any
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// readParameterSet reads the literal values of a .bicepparam file.
func readParameterSet(t *testing.T, path string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^using .*$`).ReplaceAllString(string(b), "")
	text = regexp.MustCompile(`(?m)^param `).ReplaceAllString(text, "var ")
	f := parseAll(t, sources{"set.bicep": text})[0]["set.bicep"]
	s := &scope{d: &deployment{}, file: f, params: map[string]any{}, locals: map[string]any{}, done: map[string]any{}, pending: map[string]bool{}}
	out := map[string]any{}
	for name, value := range f.vars {
		out[name] = s.value(value)
	}
	if len(out) < 2 || len(s.d.problems) > 0 {
		t.Fatalf("%s: %d parameters, %v", path, len(out), s.d.problems)
	}
	return out
}

// resolver evaluates what the engine left as expressions, which are close
// enough to Bicep, against the deployment.
func resolver(t *testing.T, d *deployment, of snapshot) func(any) any {
	t.Helper()
	var left []string
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, inner := range v {
				collect(inner)
			}
		case []any:
			for _, inner := range v {
				collect(inner)
			}
		case string:
			if isExpression(v) && !slices.Contains(left, v) {
				left = append(left, v)
			}
		}
	}
	for _, r := range of.PredictedResources {
		collect(r)
	}
	collect(of.Outputs)

	var file strings.Builder
	for i, expression := range left {
		fmt.Fprintf(&file, "var e%d = %s\n", i, expression[1:len(expression)-1])
	}
	f := parseAll(t, sources{"left.bicep": file.String()})[0]["left.bicep"]
	for _, p := range f.problems {
		t.Fatal(p)
	}
	s := &scope{d: d, file: f, params: map[string]any{}, locals: map[string]any{}, done: map[string]any{}, pending: map[string]bool{}}
	resolved := map[string]any{}
	for i, expression := range left {
		resolved[expression] = s.value(f.vars["e"+strconv.Itoa(i)])
	}
	for _, p := range d.problems {
		t.Error(p)
	}
	var resolve func(v any) any
	resolve = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for name, inner := range v {
				out[name] = resolve(inner)
			}
			return out
		case []any:
			out := make([]any, len(v))
			for i, inner := range v {
				out[i] = resolve(inner)
			}
			return out
		case string:
			if r, ok := resolved[v]; ok {
				return r
			}
		}
		return v
	}
	return resolve
}

// isExpression: ids that cut names apart with lambdas are left alone, their
// resources' names are compared.
func isExpression(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && strings.Contains(s, "(") && !strings.Contains(s, "lambda(")
}

// engineFunctions are those that appear in expressions which the engine leaves.
func engineFunctions() map[string]function {
	return map[string]function{
		"reference": func(s *scope, a []any) any {
			for _, in := range s.d.instances {
				switch {
				case in.symbol == a[0]:
					return in
				case len(a) > 1 && in.id == a[0]:
					return running{in, "properties"}
				}
			}
			return s.bad(nil, "reference to %v", a[0])
		},
		"format": func(_ *scope, a []any) any {
			out := str(a[0])
			for i, v := range a[1:] {
				out = strings.ReplaceAll(out, "{"+strconv.Itoa(i)+"}", fmt.Sprint(v))
			}
			return out
		},
		"createObject": func(_ *scope, a []any) any {
			out := map[string]any{}
			for i := 0; i+1 < len(a); i += 2 {
				out[str(a[i])] = a[i+1]
			}
			return out
		},
		"createArray": func(_ *scope, a []any) any { return a },
		"if": func(_ *scope, a []any) any {
			if a[0] == true {
				return a[1]
			}
			return a[2]
		},
		"extensionResourceId": func(_ *scope, a []any) any {
			return str(a[0]) + "/providers/" + str(a[1]) + "/" + str(a[2])
		},
		"resourceId": func(_ *scope, a []any) any {
			return "/subscriptions/" + str(a[0]) + "/resourceGroups/" + str(a[1]) + "/providers/" + str(a[2]) + "/" + str(a[3])
		},
	}
}
