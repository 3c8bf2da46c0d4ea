package infra

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readJSON(tb testing.TB, path string, into any) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
}

type azureYAML struct {
	Name             string
	RequiredVersions map[string]string
	Services         map[string]map[string]any
	Hooks            map[string]map[string]map[string]any
}

func readAzureYAML(t *testing.T) (typed azureYAML, keys map[string]any) {
	t.Helper()
	raw := parseFiles(t, "../azure.yaml")["../azure.yaml"]
	for _, into := range []any{&typed, &keys} {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return typed, keys
}

func TestAzureYAMLAgreesWithItsSchema(t *testing.T) {
	var schema struct {
		Required, Properties, RequiredVersions, Hooks []string
		Service                                       struct{ Required, Properties, Hosts, Languages []string }
		Hook                                          struct{ Properties, Shells []string }
	}
	readJSON(t, "testdata/azure-yaml.json", &schema)
	azure, keys := readAzureYAML(t)
	only := func(where string, got, allowed []string) {
		for _, name := range got {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s: there is no %s", where, name)
			}
		}
	}
	only("azure.yaml", names(keys), schema.Properties)
	only("requiredVersions", names(azure.RequiredVersions), schema.RequiredVersions)
	only("hooks", names(azure.Hooks), schema.Hooks)
	for name, service := range azure.Services {
		only(name, names(service), schema.Service.Properties)
		only(name+" host", []string{service["host"].(string)}, schema.Service.Hosts)
		only(name+" language", []string{service["language"].(string)}, schema.Service.Languages)
	}
	for name, hook := range azure.Hooks {
		if hook["windows"] == nil || hook["posix"] == nil || len(hook) != 2 {
			t.Errorf("%s: wants posix and windows, and nothing beside them", name)
		}
		for system, h := range hook {
			only(name+"."+system, names(h), schema.Hook.Properties)
			only(name+"."+system+" shell", []string{h["shell"].(string)}, schema.Hook.Shells)
			if _, err := os.Stat(filepath.Join("..", h["run"].(string))); err != nil {
				t.Error(err)
			}
		}
	}
}

func names[V any](m map[string]V) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TestAzdFindsTheSiteAndBuildsTheHandler: what azd's Go support rests on.
func TestAzdFindsTheSiteAndBuildsTheHandler(t *testing.T) {
	azure, _ := readAzureYAML(t)
	if azure.RequiredVersions["azd"] != ">= 1.26.0" {
		t.Errorf("azd %s; Go is built from 1.26.0 on", azure.RequiredVersions["azd"])
	}
	if len(azure.Services) != 1 {
		t.Fatalf("%d services", len(azure.Services))
	}
	deployed(t, func(t *testing.T, s scenario, d *deployment) {
		service, _ := d.one(t, "Microsoft.Web/sites").at("tags").(map[string]any)["azd-service-name"].(string)
		if azure.Services[service] == nil {
			t.Errorf("azure.yaml has no service %q", service)
		}
		for key, want := range map[string]string{"project": ".", "host": "function", "language": "go"} {
			if got := azure.Services[service][key]; got != want {
				t.Errorf("%s is %v, want %s", key, got, want)
			}
		}
		for _, in := range d.instances {
			if tags, ok := in.at("tags").(map[string]any); ok && tags["azd-env-name"] != s.env["AZURE_ENV_NAME"] {
				t.Errorf("%s: not tagged with the environment", in.where)
			}
		}
	})
}

func TestEveryParameterCanBeSet(t *testing.T) {
	main := parseAll(t, readSources(t))[0]["main.bicep"]
	file := parameterFile(t)
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range main.params {
		value, ok := file[name]
		m := substitution.FindStringSubmatch(value)
		if !ok || m == nil {
			t.Errorf("main.parameters.json does not take %s from the environment", name)
			continue
		}
		if !strings.HasPrefix(m[1], "AZURE_") && !strings.Contains(string(docs), "`"+m[1]+"`") {
			t.Errorf("docs/deploy.md does not name %s", m[1])
		}
	}
	for name, value := range file {
		p := main.params[name]
		m := substitution.FindStringSubmatch(value)
		if p == nil || m == nil {
			t.Errorf("main.parameters.json: %s is no parameter of main.bicep, or is fixed", name)
			continue
		}
		// One default in two places: they agree.
		if p.fallback != nil && m[2] != strings.Trim(text(p.fallback), "'") {
			t.Errorf("%s is %q by main.parameters.json and %s by main.bicep", name, m[2], text(p.fallback))
		}
	}
}

// TestBicepConfig: what the linter finds stops a deployment, and the extension
// is the version whose types testdata/types.json holds.
func TestBicepConfig(t *testing.T) {
	var config struct {
		Extensions map[string]string
		Analyzers  struct {
			Core struct {
				Enabled bool
				Rules   map[string]struct{ Level string }
			}
		}
	}
	readJSON(t, "bicepconfig.json", &config)
	if got := config.Extensions["microsoftGraphV1"]; !strings.HasSuffix(got, "/microsoftgraph/v1.0:1.0.0") {
		t.Errorf("the extension is %s", got)
	}
	for name, rule := range config.Analyzers.Core.Rules {
		if rule.Level != "error" {
			t.Errorf("%s is a %s", name, rule.Level)
		}
	}
	if !config.Analyzers.Core.Enabled || len(config.Analyzers.Core.Rules) < 20 {
		t.Error("the linter is off")
	}
	for name, source := range readSources(t) {
		if strings.Contains(source, "Microsoft.Graph/") != strings.Contains(source, "\nextension microsoftGraphV1\n") {
			t.Errorf("%s: the extension and the types of Microsoft Graph go together", name)
		}
	}
}

// TestWorkflowPassesParameters: the example of docs/deploy.md is YAML, logs in
// without a secret and sets variables that something reads.
func TestWorkflowPassesParameters(t *testing.T) {
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(docs), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```\n")
	path := filepath.Join(t.TempDir(), "deploy.yml")
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct{ Env map[string]string }
	}
	if err := json.Unmarshal(parseFiles(t, path)[path], &workflow); err != nil {
		t.Fatal(err)
	}
	if workflow.Permissions["id-token"] != "write" || strings.Contains(example, "secrets.") {
		t.Error("the login is not federated")
	}
	read := map[string]bool{"AZURE_CLIENT_ID": true, "AZURE_TENANT_ID": true, "AZURE_SUBSCRIPTION_ID": true}
	for _, value := range parameterFile(t) {
		read[substitution.FindStringSubmatch(value)[1]] = true
	}
	for name := range workflow.Jobs["deploy"].Env {
		if !read[name] {
			t.Errorf("nothing reads %s", name)
		}
	}
	if len(workflow.Jobs["deploy"].Env) < 5 {
		t.Error("too few variables")
	}
}

// TestHooksUseOutputs: azd gives hooks the outputs of main.bicep as variables.
func TestHooksUseOutputs(t *testing.T) {
	main := parseAll(t, readSources(t))[0]["main.bicep"]
	scripts, err := filepath.Glob("hooks/*")
	if err != nil || len(scripts) != 6 {
		t.Fatalf("hooks: %v %v", scripts, err)
	}
	variable := regexp.MustCompile(`\$(?:env:|\{)?([A-Z][A-Z_]+)\b`)
	for _, path := range scripts {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range variable.FindAllStringSubmatch(string(b), -1) {
			if m[1] != "AZURE_SUBSCRIPTION_ID" && m[1] != "LASTEXITCODE" && // azd's own, PowerShell's
				main.outputs[m[1]] == nil {
				t.Errorf("%s uses %s, which is no output", path, m[1])
			}
		}
	}
}

func TestHostJSON(t *testing.T) {
	var host struct {
		Version              string
		ConfigurationProfile string
		CustomHandler        map[string]any
		Extensions           struct{ HTTP struct{ RoutePrefix *string } }
		Logging              struct {
			ApplicationInsights struct {
				EnableDependencyTracking *bool
				EnableQueryStringTracing *bool
			}
		}
	}
	readJSON(t, "../host.json", &host)
	handler := host.CustomHandler
	if host.Version != "2.0" || host.ConfigurationProfile != "mcp-custom-handler" {
		t.Errorf("version %s, profile %s", host.Version, host.ConfigurationProfile)
	}
	// azd names the binary app.
	if description, _ := handler["description"].(map[string]any); description["defaultExecutablePath"] != "app" || len(description) != 1 {
		t.Errorf("description %v", description)
	}
	if handler["enableProxyingHttpRequest"] != true || handler["enableForwardingHttpRequest"] != nil {
		t.Error("requests must be proxied: forwarding buffers answers")
	}
	// A fixed port makes restarts sequential.
	if handler["port"] != nil {
		t.Error("a fixed port")
	}
	if http, _ := handler["http"].(map[string]any); http["DefaultAuthorizationLevel"] != "anonymous" || http["routes"] != nil {
		t.Errorf("http %v: a function key would be asked for, and the callback's code taken for one", http)
	}
	if p := host.Extensions.HTTP.RoutePrefix; p == nil || *p != "" {
		t.Error("the route prefix is not empty")
	}
	// Older hosts record the proxied call with its query, which holds codes.
	if e := host.Logging.ApplicationInsights.EnableDependencyTracking; e == nil || *e {
		t.Error("dependency tracking is on")
	}
	if host.Logging.ApplicationInsights.EnableQueryStringTracing != nil {
		t.Error("query strings are traced")
	}
}

// TestNoFunctionJSON: beside the profile's route one stops the host.
func TestNoFunctionJSON(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".git"):
			return filepath.SkipDir
		case e.Name() == "function.json":
			t.Errorf("%s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyBinaryAndHostJSONArePublished(t *testing.T) {
	b, err := os.ReadFile("../.funcignore")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			rules = append(rules, line)
		}
	}
	if !slices.Equal(rules, []string{"*", "!app", "!host.json"}) {
		t.Errorf("%q", rules)
	}
}
