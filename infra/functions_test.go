package infra

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"entramcp/infra/arm"
)

// What a deployment would find. The GUIDs differ, so that one in the wrong
// place shows.
const (
	subscriptionID    = "11111111-1111-1111-1111-111111111111"
	tenantID          = "22222222-2222-2222-2222-222222222222"
	identityClient    = "20000000-1111-2222-3333-444444444444"
	identityPrincipal = "30000000-1111-2222-3333-444444444444"
	applicationClient = "40000000-1111-2222-3333-444444444444"
)

// clouds are the parts of environment() that are used.
// https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-deployment#environment
var clouds = map[string]map[string]any{
	"AzureCloud": {
		"name":           "AzureCloud",
		"authentication": map[string]any{"loginEndpoint": "https://login.microsoftonline.com/"},
		"suffixes":       map[string]any{"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
	},
	"AzureUSGovernment": {
		"name":           "AzureUSGovernment",
		"authentication": map[string]any{"loginEndpoint": "https://login.microsoftonline.us/"},
		"suffixes":       map[string]any{"storage": "core.usgovcloudapi.net", "keyvaultDns": ".vault.usgovcloudapi.net"},
	},
}

// running is a property that Azure fills in; path leads to it.
type running struct {
	instance *instance
	path     string
}

// samples are such properties, by type and path. NAME is the resource's name.
var samples = map[string]string{
	"Microsoft.ManagedIdentity/userAssignedIdentities.properties.clientId":    identityClient,
	"Microsoft.ManagedIdentity/userAssignedIdentities.properties.principalId": identityPrincipal,
	"Microsoft.Graph/applications.appId":                                      applicationClient,
	"Microsoft.Insights/components.properties.ConnectionString":               "InstrumentationKey=50000000-1111-2222-3333-444444444444;IngestionEndpoint=https://sample.in.applicationinsights.azure.com/",
	"Microsoft.Storage/storageAccounts.properties.primaryEndpoints.blob":      "https://NAME.blob.STORAGE/",
	"Microsoft.Storage/storageAccounts.properties.primaryEndpoints.table":     "https://NAME.table.STORAGE/",
	"Microsoft.KeyVault/vaults/keys.properties.keyUri":                        "https://PARENTVAULT/keys/NAME",
}

// property reads a property of a resource: what the template assigned, or what
// Azure would fill in, if the type has it.
func (s *scope) property(n *node, in *instance, path string) any {
	base, _, _ := strings.Cut(in.kind, "@")
	switch path {
	case "id":
		return in.id
	case "name":
		return in.name
	}
	if v, ok := in.body[path]; ok && path != "properties" {
		return v
	}
	suffixes := clouds[s.d.cloud]["suffixes"].(map[string]any)
	if v, ok := samples[base+"."+path]; ok {
		if problem := s.d.facts.readable(in.kind, path); problem != "" && len(s.d.facts.Resources) > 0 {
			return s.bad(n, "%s", problem)
		}
		parent := ""
		if in.parent != nil {
			parent = in.parent.name
		}
		v = strings.NewReplacer("NAME", in.name, "STORAGE", suffixes["storage"].(string),
			"PARENT", parent, "VAULT", suffixes["keyvaultDns"].(string)).Replace(v)
		return v
	}
	for known := range samples {
		if strings.HasPrefix(known, base+"."+path+".") {
			return running{in, path}
		}
	}
	return s.bad(n, "%s of a %s is not known; is there a sample of it?", path, base)
}

// function is one of Bicep's; an arity of -1 is any but none.
type function struct {
	arity int
	eval  func(s *scope, args []any) any
}

// functions are those that the template uses, by name.
func functions() map[string]function {
	known := engineFunctions()
	maps.Copy(known, map[string]function{
		"subscription": {0, func(*scope, []any) any { return map[string]any{"id": "/subscriptions/" + subscriptionID} }},
		"tenant":       {0, func(*scope, []any) any { return map[string]any{"tenantId": tenantID} }},
		"environment":  {0, func(s *scope, _ []any) any { return clouds[s.d.cloud] }},
		"toLower":      {1, func(_ *scope, a []any) any { return strings.ToLower(str(a[0])) }},
		"trim":         {1, func(_ *scope, a []any) any { return strings.TrimSpace(str(a[0])) }},
		"uriComponent": {1, func(_ *scope, a []any) any { return strings.ReplaceAll(url.QueryEscape(str(a[0])), "+", "%20") }},
		"endsWith":     {2, func(_ *scope, a []any) any { return strings.HasSuffix(str(a[0]), str(a[1])) }},
		"replace":      {3, func(_ *scope, a []any) any { return strings.ReplaceAll(str(a[0]), str(a[1]), str(a[2])) }},
		"substring":    {3, func(_ *scope, a []any) any { return str(a[0])[number(a[1]) : number(a[1])+number(a[2])] }},
		"split": {2, func(_ *scope, a []any) any {
			out := []any{}
			for p := range strings.SplitSeq(str(a[0]), str(a[1])) {
				out = append(out, p)
			}
			return out
		}},
		"length": {1, func(_ *scope, a []any) any {
			if list, ok := a[0].([]any); ok {
				return len(list)
			}
			return len(str(a[0]))
		}},
		"empty": {1, func(_ *scope, a []any) any {
			switch v := a[0].(type) {
			case []any:
				return len(v) == 0
			case map[string]any:
				return len(v) == 0
			}
			return str(a[0]) == ""
		}},
		"map": {2, func(s *scope, a []any) any {
			l, _ := a[1].(lambda)
			items, _ := a[0].([]any)
			out := []any{}
			for _, item := range items {
				out = append(out, s.with(l.param, item).value(l.body))
			}
			return out
		}},
		"union": {-1, func(_ *scope, a []any) any {
			out := map[string]any{}
			for _, o := range a {
				m, _ := o.(map[string]any)
				maps.Copy(out, m)
			}
			return out
		}},
		"uniqueString": {-1, func(_ *scope, a []any) any { return arm.UniqueString(texts(a)...) }},
		"guid":         {-1, func(_ *scope, a []any) any { return arm.GUID(texts(a)...) }},
		"subscriptionResourceId": {2, func(_ *scope, a []any) any {
			return "/subscriptions/" + subscriptionID + "/providers/" + str(a[0]) + "/" + str(a[1])
		}},
	})
	return known
}

func texts(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = str(v)
	}
	return out
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func (s *scope) call(n *node) any {
	name := n.field("function").Text
	f, ok := functions()[name]
	if !ok {
		return s.bad(n, "there is no function %s, or the tests do not know it", name)
	}
	args := []any{}
	for _, a := range n.field("arguments").inner() {
		args = append(args, s.value(a))
	}
	if (f.arity >= 0 && len(args) != f.arity) || (f.arity < 0 && len(args) == 0) {
		return s.bad(n, "%s takes %d arguments", name, f.arity)
	}
	if slices.Contains(args, nil) {
		return nil // reported where it arose
	}
	return f.eval(s, args)
}
