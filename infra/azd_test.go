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
	if len(azure.Hooks) != 4 {
		t.Errorf("%d hooks, want 4", len(azure.Hooks))
	}
	for name, hook := range azure.Hooks {
		if hook["windows"] == nil || hook["posix"] == nil || len(hook) != 2 {
			t.Errorf("%s: wants posix and windows, and nothing beside them", name)
		}
		for system, h := range hook {
			only(name+"."+system, names(h), schema.Hook.Properties)
			only(name+"."+system+" shell", []string{h["shell"].(string)}, schema.Hook.Shells)
			// Else azd erases what the hook says.
			if h["interactive"] != true {
				t.Errorf("%s.%s is not interactive", name, system)
			}
		}
		const run = "go run ./infra/hooks "
		if hook["posix"]["run"] != run+name || hook["windows"]["run"] != run+name+"; exit $LASTEXITCODE" {
			t.Errorf("%s runs %v and %v", name, hook["posix"]["run"], hook["windows"]["run"])
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

// TestEveryParameterCanBeSet: from a variable whose name nothing else in a shell
// is likely to use, with the default of main.bicep, and documented.
func TestEveryParameterCanBeSet(t *testing.T) {
	main := parsedTemplate(t)["main.bicep"]
	file := parameterFile(t)
	docs, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	server, _ := file["serverSettings"].(map[string]any)
	for name, fallback := range variables(t) {
		azds := slices.Contains([]string{"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}, name)
		if !azds && !strings.HasPrefix(name, "MCP_") {
			t.Errorf("%s may be set in a shell for something else", name)
		}
		// The server's settings have a page of their own.
		setting := strings.TrimPrefix(name, "MCP_")
		if !azds && server[setting] == nil && server[name] == nil && !strings.Contains(string(docs), "`"+name+"`") {
			t.Errorf("docs/deploy.md does not name %s (default %q)", name, fallback)
		}
	}
	for name, p := range main.params {
		switch value := file[name].(type) {
		case string:
			m := substitution.FindStringSubmatch(value)
			if m == nil || m[0] != value {
				t.Errorf("main.parameters.json does not take %s from one variable", name)
				continue
			}
			// One default in two places: they agree.
			if p.fallback != nil && m[2] != strings.Trim(text(p.fallback), "'") {
				t.Errorf("%s is %q by main.parameters.json and %s by main.bicep", name, m[2], text(p.fallback))
			}
		case map[string]any:
			for setting, v := range value {
				if str(v) != "${MCP_"+strings.TrimPrefix(setting, "MCP_")+"=}" {
					t.Errorf("%s.%s is %v", name, setting, v)
				}
			}
		default:
			t.Errorf("main.parameters.json does not set %s", name)
		}
	}
	for name := range file {
		if main.params[name] == nil {
			t.Errorf("main.parameters.json: %s is no parameter of main.bicep", name)
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

// TestHooksUseOutputs: azd gives hooks the outputs of main.bicep and what was
// set with "azd env set" as variables.
func TestHooksUseOutputs(t *testing.T) {
	known := variables(t)
	for name := range parsedTemplate(t)["main.bicep"].outputs {
		known[name] = ""
	}
	for _, name := range []string{"AZURE_SUBSCRIPTION_ID", "MCP_PREFLIGHT_SKIP"} { // azd's own, the hooks' own
		known[name] = ""
	}
	files, err := filepath.Glob("hooks/*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`p\.(?:getenv|is)\("([A-Z_]+)"\)`)
	found := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range used.FindAllStringSubmatch(string(b), -1) {
			found++
			if _, ok := known[m[1]]; !ok {
				t.Errorf("%s uses %s, which azd does not set", path, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d uses found", found)
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
