package infra

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scenario is one environment that somebody may deploy: the values that were
// given with "azd env set".
type scenario struct {
	name  string
	cloud string
	env   map[string]string
}

func scenarios() []scenario {
	azd := map[string]string{"AZURE_ENV_NAME": "sample", "AZURE_LOCATION": "northeurope"}
	everything := maps.Clone(azd)
	maps.Copy(everything, map[string]string{
		"PUBLIC_URL": "https://mcp.example.com/", "ALLOWED_ORIGINS": "http://localhost:6274, https://app.example.com",
		"VNET_ENABLED": "true", "INSTANCE_MEMORY_MB": "512", "MAXIMUM_INSTANCES": "100", "ALWAYS_READY_INSTANCES": "2",
		"REQUESTS_PER_INSTANCE": "250", "ZONE_REDUNDANT": "true", "STORAGE_SKU": "Standard_ZRS", "LOGS_DAILY_LIMIT_GB": "-1",
		"ALERT_EMAIL": "ops@example.com", "OPERATOR_PRINCIPAL_ID": "60000000-1111-2222-3333-444444444444", "OPERATOR_PRINCIPAL_TYPE": "Group",
		"ASSIGNMENT_REQUIRED": "true", "SERVICE_MANAGEMENT_REFERENCE": "70000000-1111-2222-3333-444444444444", "RECOVER_KEY_VAULT": "true",
		"ACCESS_TOKEN_LIFETIME": "15m", "REFRESH_LIFETIME": "30d", "ALLOWED_REDIRECT_URIS": "https://claude.ai/*,http://localhost/callback",
		"CLIENT_METADATA_HOSTS": "claude.ai,vscode.dev", "LOG_LEVEL": "debug",
	})
	return []scenario{{"defaults", "AzureCloud", azd}, {"everything", "AzureCloud", everything}, {"government", "AzureUSGovernment", azd}}
}

var substitution = regexp.MustCompile(`\$\{(\w+)(?:=([^}]*))?\}`)

// parameters are main.parameters.json as azd hands it over: with variables
// replaced, and text turned into the number or bool that a parameter wants.
func parameters(tb testing.TB, f *file, env map[string]string) map[string]any {
	tb.Helper()
	out := map[string]any{}
	for name, value := range parameterFile(tb) {
		text := substitution.ReplaceAllStringFunc(value, func(m string) string {
			parts := substitution.FindStringSubmatch(m)
			if v, ok := env[parts[1]]; ok {
				return v
			}
			return parts[2]
		})
		out[name] = text
		p := f.params[name]
		if p == nil {
			continue // reported by the deployment
		}
		switch p.kind {
		case "bool":
			if b, err := strconv.ParseBool(text); err == nil {
				out[name] = b
			}
		case "int":
			if i, err := strconv.Atoi(text); err == nil {
				out[name] = i
			}
		}
	}
	return out
}

func parameterFile(tb testing.TB) map[string]string {
	tb.Helper()
	b, err := os.ReadFile("main.parameters.json")
	if err != nil {
		tb.Fatal(err)
	}
	var file struct {
		Parameters map[string]struct{ Value string }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		tb.Fatal(err)
	}
	out := map[string]string{}
	for name, p := range file.Parameters {
		out[name] = p.Value
	}
	return out
}

// deploy evaluates a template and checks what comes out.
func deploy(tb testing.TB, t template, s scenario) (*deployment, map[string]any) {
	tb.Helper()
	d := &deployment{template: t, facts: readFacts(tb), cloud: s.cloud}
	main := t["main.bicep"]
	outputs := d.run("main.bicep", parameters(tb, main, s.env), "main.parameters.json", "")
	for _, in := range d.instances {
		d.facts.check(in, d.bad)
	}
	for _, f := range t {
		for _, p := range f.lint() {
			d.bad("%s", p)
		}
	}
	slices.Sort(d.problems)
	return d, outputs
}

// one is the only instance of a type.
func (d *deployment) one(tb testing.TB, base string) *instance {
	tb.Helper()
	all := d.all(base)
	if len(all) != 1 {
		tb.Fatalf("%d instances of %s", len(all), base)
	}
	return all[0]
}

func (d *deployment) all(base string) []*instance {
	var out []*instance
	for _, in := range d.instances {
		if kind, _, _ := strings.Cut(in.kind, "@"); kind == base {
			out = append(out, in)
		}
	}
	return out
}

// at follows a path such as properties.siteConfig.cors.
func (in *instance) at(path string) any {
	var v any = in.body
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func TestBicepAgreesWithPublishedTypes(t *testing.T) {
	parsed := parseAll(t, readSources(t))[0]
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			d, _ := deploy(t, parsed, s)
			for _, p := range d.problems {
				t.Error(p)
			}
			if len(d.instances) < 25 {
				t.Errorf("only %d resources came out", len(d.instances))
			}
		})
	}
}
