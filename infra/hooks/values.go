package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"entramcp/handler/config"
)

var (
	guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	// What azd accepts as a name and a resource group as rg-<name>: azd lets it
	// end with a period.
	environmentName = regexp.MustCompile(`^[A-Za-z0-9._()-]{0,63}[A-Za-z0-9_()-]$`)
)

// guids are the variables that hold one or more.
var guids = []string{
	"MCP_ENTRA_CLIENT_ID", "MCP_GRAPH_PERMISSIONS", "MCP_INVOKE_PRINCIPALS", "MCP_MANAGE_PRINCIPALS",
	"MCP_OPERATOR_PRINCIPAL_ID", "MCP_PREAUTHORIZED_CLIENTS",
}

// checkValues finds values that azd or the template would take for something
// else, or that contradict each other. Nothing outside is asked.
func (p *program) checkValues(parameters []parameter) []finding {
	var findings []finding
	refuse := func(variable, what, remedy string) {
		findings = append(findings, finding{check: "value", what: variable + " " + what, remedy: remedy})
	}
	for _, d := range parameters {
		value := p.getenv(d.variable)
		if value == "" {
			continue
		}
		p.checkValue(d, value, refuse)
	}
	if name := p.getenv("AZURE_ENV_NAME"); !environmentName.MatchString(name) {
		refuse("AZURE_ENV_NAME", fmt.Sprintf("is %q, and rg-%s is not a valid name of a resource group", name, name), "azd env new <another name>")
	}
	for _, variable := range guids {
		for _, id := range list(p.getenv(variable)) {
			if !guid.MatchString(id) {
				refuse(variable, fmt.Sprintf("names %q, which is not a GUID", id), "")
			}
		}
	}
	if v := p.getenv("MCP_ALERT_EMAIL"); v != "" && !strings.Contains(strings.Trim(v, "@"), "@") {
		refuse("MCP_ALERT_EMAIL", fmt.Sprintf("is %q, which is not an e-mail address", v), "")
	}
	for _, c := range contradictions {
		if p.is(c.set) && (c.needs == "" || !p.is(c.needs)) && (c.refusedWith == "" || p.is(c.refusedWith)) {
			refuse(c.set, c.what, c.remedy)
		}
	}
	if sku := cmp.Or(p.getenv("MCP_STORAGE_SKU"), "Standard_LRS"); p.is("MCP_ZONE_REDUNDANT") && !strings.Contains(sku, "ZRS") {
		refuse("MCP_ZONE_REDUNDANT", "is set, and MCP_STORAGE_SKU is "+sku+", which is in one zone", "azd env set MCP_STORAGE_SKU Standard_ZRS")
	}
	findings = append(findings, p.oldNames()...)
	return append(findings, p.checkServer(parameters)...)
}

func (p *program) checkValue(d parameter, value string, refuse func(variable, what, remedy string)) {
	set := "azd env set " + d.variable + " "
	n, err := strconv.Atoi(value)
	switch {
	case strings.ContainsAny(value, "\"\\") || strings.ContainsFunc(value, unicode.IsControl):
		refuse(d.variable, "holds a quotation mark, a backslash or a control character, which azd cannot put into its parameters", "")
	case d.kind == "bool" && value != "true" && value != "false":
		refuse(d.variable, fmt.Sprintf("is %q, which azd takes for false", value), set+"true\n"+set+"false")
	case d.kind == "int" && err != nil:
		refuse(d.variable, fmt.Sprintf("is %q, which is not a whole number", value), set+d.fallback)
	case d.kind == "int" && (d.least != nil && n < *d.least || d.most != nil && n > *d.most):
		refuse(d.variable, fmt.Sprintf("is %d; it is from %d to %d", n, *d.least, *d.most), set+d.fallback)
	case len(d.allowed) > 0 && !slices.Contains(d.allowed, value):
		refuse(d.variable, fmt.Sprintf("is %q; it is one of %s", value, strings.Join(d.allowed, ", ")), "")
	}
}

// is says whether a variable is true or, if it is no bool, set.
func (p *program) is(variable string) bool {
	v := p.getenv(variable)
	return v != "" && v != "false"
}

const (
	byAdministrator = "is set, and the template does not touch the registration in MCP_ENTRA_CLIENT_ID: its administrator sets this there"
	withoutOwn      = "is set, and MCP_ENTRA_CLIENT_ID is not: the template registers in the subscription's own tenant"
	withoutNetwork  = "is set, and MCP_VIRTUAL_NETWORK is not"
	setNetwork      = "azd env set MCP_VIRTUAL_NETWORK true"
)

// contradictions: set is refused unless needs is there, or where refusedWith is.
var contradictions = []struct{ set, needs, refusedWith, what, remedy string }{
	{"MCP_PRIVATE_ONLY", "MCP_VIRTUAL_NETWORK", "", withoutNetwork, setNetwork},
	{"MCP_FIXED_EGRESS", "MCP_VIRTUAL_NETWORK", "", withoutNetwork, setNetwork},
	{"MCP_ENTRA_TENANT_ID", "MCP_ENTRA_CLIENT_ID", "", withoutOwn, "azd env set MCP_MULTI_TENANT true"},
	{"MCP_ENTRA_AUTHORITY", "MCP_ENTRA_CLIENT_ID", "", withoutOwn, ""},
	{"MCP_ENTRA_VAULT_CREDENTIAL", "MCP_ENTRA_CLIENT_ID", "", withoutOwn, ""},
	{"MCP_MULTI_TENANT", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, "azd env set MCP_ENTRA_TENANT_ID organizations"},
	{"MCP_ASSIGNMENT_REQUIRED", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
	{"MCP_GRAPH_PERMISSIONS", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
	{"MCP_PREAUTHORIZED_CLIENTS", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
	{"MCP_INVOKE_PRINCIPALS", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
	{"MCP_MANAGE_PRINCIPALS", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
	{"MCP_SERVICE_MANAGEMENT_REFERENCE", "", "MCP_ENTRA_CLIENT_ID", byAdministrator, ""},
}

// renamed are variables of earlier versions. In a shell they may belong to
// something else, so only those that azd keeps are looked at.
var renamed = map[string]string{
	"VNET_ENABLED": "MCP_VIRTUAL_NETWORK and MCP_PRIVATE_ONLY", "PUBLIC_URL": "MCP_PUBLIC_URL", "ALLOWED_ORIGINS": "MCP_ALLOWED_ORIGINS",
	"INSTANCE_MEMORY_MB": "MCP_INSTANCE_MEMORY_MB", "MAXIMUM_INSTANCES": "MCP_MAXIMUM_INSTANCES",
	"ALWAYS_READY_INSTANCES": "MCP_ALWAYS_READY_INSTANCES", "REQUESTS_PER_INSTANCE": "MCP_REQUESTS_PER_INSTANCE",
	"ZONE_REDUNDANT": "MCP_ZONE_REDUNDANT", "STORAGE_SKU": "MCP_STORAGE_SKU", "LOGS_DAILY_LIMIT_GB": "MCP_LOGS_DAILY_LIMIT_GB",
	"ALERT_EMAIL": "MCP_ALERT_EMAIL", "OPERATOR_PRINCIPAL_ID": "MCP_OPERATOR_PRINCIPAL_ID", "OPERATOR_PRINCIPAL_TYPE": "MCP_OPERATOR_PRINCIPAL_TYPE",
	"ASSIGNMENT_REQUIRED": "MCP_ASSIGNMENT_REQUIRED", "SERVICE_MANAGEMENT_REFERENCE": "MCP_SERVICE_MANAGEMENT_REFERENCE",
	"RECOVER_KEY_VAULT": "MCP_RECOVER_KEY_VAULT", "ACCESS_TOKEN_LIFETIME": "MCP_ACCESS_TOKEN_LIFETIME", "REFRESH_LIFETIME": "MCP_REFRESH_LIFETIME",
	"ALLOWED_REDIRECT_URIS": "MCP_ALLOWED_REDIRECT_URIS", "CLIENT_METADATA_HOSTS": "MCP_CLIENT_METADATA_HOSTS", "LOG_LEVEL": "MCP_LOG_LEVEL",
}

func (p *program) oldNames() []finding {
	file, err := os.Open(filepath.Join(p.root, ".azure", p.getenv("AZURE_ENV_NAME"), ".env"))
	if err != nil {
		return nil
	}
	defer file.Close()
	var findings []finding
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), "=")
		if now := renamed[name]; now != "" {
			findings = append(findings, finding{check: "renamed", what: name + " is set in this environment and is no longer read; its name is now " + now,
				remedy: "azd env set <new name> <value>, and delete the line from " + file.Name()})
		}
	}
	return findings
}

// checkServer has the server read its settings as it will in Azure: what it
// refuses there would be found only after the deployment.
func (p *program) checkServer(parameters []parameter) []finding {
	const anyGUID = "00000000-0000-0000-0000-000000000001"
	env := map[string]string{
		"WEBSITE_HOSTNAME": p.host(), "PUBLIC_URL": p.origin(),
		"ENTRA_TENANT_ID": cmp.Or(p.getenv("MCP_ENTRA_TENANT_ID"), anyGUID), "ENTRA_CLIENT_ID": cmp.Or(p.getenv("MCP_ENTRA_CLIENT_ID"), anyGUID),
		"ENTRA_AUTHORITY": p.getenv("MCP_ENTRA_AUTHORITY"), "ENTRA_MANAGED_IDENTITY_CLIENT_ID": anyGUID,
		"TABLES_URL": "https://account.table.core.windows.net", "KEY_VAULT_KEY_URL": "https://vault.vault.azure.net/keys/ring",
	}
	if p.is("MCP_MULTI_TENANT") && !p.is("MCP_ENTRA_CLIENT_ID") {
		env["ENTRA_TENANT_ID"] = "organizations"
	}
	var origins []string
	for _, origin := range list(p.getenv("MCP_ALLOWED_ORIGINS")) {
		origins = append(origins, strings.TrimSuffix(origin, "/"))
	}
	env["ALLOWED_ORIGINS"] = strings.Join(origins, ",")
	for _, d := range parameters {
		if d.setting != "" {
			env[d.setting] = p.getenv(d.variable)
		}
	}
	_, err := config.Load(func(name string) string { return env[name] })
	var problems config.Problems
	if !errors.As(err, &problems) {
		return nil
	}
	var findings []finding
	for _, problem := range problems {
		findings = append(findings, finding{check: "setting", what: "MCP_" + strings.TrimPrefix(problem.Name, "MCP_") + " " + problem.Wrong, remedy: problem.Write})
	}
	return findings
}
