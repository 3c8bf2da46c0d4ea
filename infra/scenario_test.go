package infra

import (
	"maps"
	"os"
	"path/filepath"
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
		"MCP_PUBLIC_URL": "https://mcp.example.com/", "MCP_ALLOWED_ORIGINS": "http://localhost:6274/, https://app.example.com,",
		"MCP_VIRTUAL_NETWORK": "true", "MCP_PRIVATE_ONLY": "true", "MCP_FIXED_EGRESS": "true",
		"MCP_INSTANCE_MEMORY_MB": "512", "MCP_MAXIMUM_INSTANCES": "100", "MCP_ALWAYS_READY_INSTANCES": "2",
		"MCP_REQUESTS_PER_INSTANCE": "250", "MCP_ZONE_REDUNDANT": "true", "MCP_STORAGE_SKU": "Standard_ZRS", "MCP_LOGS_DAILY_LIMIT_GB": "-1",
		"MCP_ALERT_EMAIL": "ops@example.com", "MCP_OPERATOR_PRINCIPAL_ID": operatorPrincipal, "MCP_OPERATOR_PRINCIPAL_TYPE": "Group",
		"MCP_ASSIGNMENT_REQUIRED": "true", "MCP_SERVICE_MANAGEMENT_REFERENCE": "70000000-1111-2222-3333-444444444444",
		"MCP_MULTI_TENANT": "true", "MCP_ENTRA_ALLOWED_TENANTS": tenantID, "MCP_RESOURCE_URI": "true",
		"MCP_GRAPH_PERMISSIONS":     "80000000-1111-2222-3333-444444444444 81000000-1111-2222-3333-444444444444",
		"MCP_PREAUTHORIZED_CLIENTS": "82000000-1111-2222-3333-444444444444", "MCP_INVOKE_PRINCIPALS": "83000000-1111-2222-3333-444444444444",
		"MCP_MANAGE_PRINCIPALS": "84000000-1111-2222-3333-444444444444, 85000000-1111-2222-3333-444444444444", "MCP_PINNED_CLIENTS": "true",
		"MCP_ACCESS_TOKEN_LIFETIME": "15m", "MCP_REFRESH_LIFETIME": "30d", "MCP_ALLOWED_REDIRECT_URIS": "https://claude.ai/*,http://localhost/callback",
		"MCP_CLIENT_METADATA_HOSTS": "claude.ai,vscode.dev", "MCP_LOG_LEVEL": "debug", "MCP_TIMEOUT_SECONDS": "7", "MCP_REQUIRED_SCOPES": "openid,profile",
	})
	existing := maps.Clone(azd)
	maps.Copy(existing, map[string]string{
		"MCP_ENTRA_CLIENT_ID": existingClient, "MCP_ENTRA_TENANT_ID": "86000000-1111-2222-3333-444444444444",
		"MCP_ENTRA_AUTHORITY": "https://contoso.ciamlogin.com/", "MCP_ENTRA_VAULT_CREDENTIAL": "entra-client",
		"MCP_REQUEST_API_SCOPE": "false", "MCP_OPERATOR_ACCESS": "true", "AZURE_PRINCIPAL_ID": operatorPrincipal,
	})
	government := maps.Clone(azd)
	government["AZURE_LOCATION"] = "usgovvirginia"
	return []scenario{
		{"defaults", "AzureCloud", azd},
		{"everything", "AzureCloud", everything},
		{"existing registration", "AzureCloud", existing},
		{"government", "AzureUSGovernment", government},
	}
}

// signIn is what users are sent to and the server signs in with.
type signIn struct{ issuer, tenant, client, identity, apiScope, authority string }

// signsIn is what the server of a scenario shall use.
func (s scenario) signsIn(site string) signIn {
	own := signIn{issuer: "https://" + site, tenant: tenantID, client: applicationClient, identity: identityClient,
		apiScope: applicationClient + "/mcp.access", authority: "https://login.microsoftonline.com"}
	switch s.name {
	case "everything":
		own.issuer, own.tenant = "https://mcp.example.com", "organizations"
	case "existing registration":
		return signIn{issuer: own.issuer, tenant: s.env["MCP_ENTRA_TENANT_ID"], client: existingClient, authority: "https://contoso.ciamlogin.com"}
	case "government":
		own.authority = "https://login.microsoftonline.us"
	}
	return own
}

var substitution = regexp.MustCompile(`\$\{(\w+)(?:=([^}]*))?\}`)

// parameters are main.parameters.json as azd hands it over: with variables
// replaced, and text turned into the number or bool that a parameter wants.
func parameters(tb testing.TB, f *file, env map[string]string) map[string]any {
	tb.Helper()
	substitute := func(value string) string {
		return substitution.ReplaceAllStringFunc(value, func(m string) string {
			parts := substitution.FindStringSubmatch(m)
			if v, ok := env[parts[1]]; ok {
				return v
			}
			return parts[2]
		})
	}
	out := map[string]any{}
	for name, value := range parameterFile(tb) {
		switch value := value.(type) {
		case string:
			out[name] = typed(f.params[name], substitute(value))
		case map[string]any:
			object := map[string]any{}
			for key, v := range value {
				object[key] = substitute(str(v))
			}
			out[name] = object
		}
	}
	return out
}

func typed(p *param, text string) any {
	if p != nil && p.kind == "bool" {
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	if p != nil && p.kind == "int" {
		if i, err := strconv.Atoi(text); err == nil {
			return i
		}
	}
	return text
}

func parameterFile(tb testing.TB) map[string]any {
	tb.Helper()
	var file struct {
		Parameters map[string]struct{ Value any }
	}
	readJSON(tb, "main.parameters.json", &file)
	out := map[string]any{}
	for name, p := range file.Parameters {
		out[name] = p.Value
	}
	return out
}

// variables are those that main.parameters.json takes from the environment,
// with their defaults.
func variables(tb testing.TB) map[string]string {
	tb.Helper()
	b, err := os.ReadFile("main.parameters.json")
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range substitution.FindAllStringSubmatch(string(b), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// deploy evaluates a template and checks what comes out.
func deploy(tb testing.TB, t template, s scenario) *deployment {
	tb.Helper()
	d := &deployment{template: t, facts: readFacts(tb), cloud: s.cloud}
	main := t["main.bicep"]
	d.outputs = d.run("main.bicep", parameters(tb, main, s.env), "main.parameters.json", "")
	for _, in := range d.instances {
		d.facts.check(in, d.bad)
	}
	slices.Sort(d.problems)
	return d
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
	parsed := parsedTemplate(t)
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			d := deploy(t, parsed, s)
			for _, p := range d.problems {
				t.Error(p)
			}
			if len(d.instances) < 25 {
				t.Errorf("only %d resources came out", len(d.instances))
			}
		})
	}
}

// TestParameterSetsEvaluate: those of which the compiler's workflow keeps
// snapshots.
func TestParameterSetsEvaluate(t *testing.T) {
	files, err := filepath.Glob("snapshots/*.bicepparam")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d parameter sets, %v", len(files), err)
	}
	for _, file := range files {
		d := &deployment{template: parsedTemplate(t), facts: readFacts(t), cloud: "AzureCloud"}
		set := readParameterSet(t, file)
		for name := range set {
			if d.template["main.bicep"].params[name] == nil {
				t.Errorf("%s: there is no parameter %s", file, name)
			}
		}
		d.run("main.bicep", set, file, "")
		for _, in := range d.instances {
			d.facts.check(in, d.bad)
		}
		for _, p := range d.problems {
			t.Errorf("%s: %s", file, p)
		}
	}
}
