package infra

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
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
	existingClient    = "41000000-1111-2222-3333-444444444444"
	operatorPrincipal = "60000000-1111-2222-3333-444444444444"
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
	"Microsoft.Network/publicIPAddresses.properties.ipAddress":                "203.0.113.7",
	"Microsoft.Graph/servicePrincipals.id":                                    "87000000-1111-2222-3333-444444444444",
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
	switch {
	case path == "id" && base != "Microsoft.Graph/servicePrincipals":
		return in.id
	case path == "name":
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

// function is one of Bicep's or of the engine's.
type function func(s *scope, args []any) any

// functions are those that the template uses, by name.
func functions() map[string]function {
	known := engineFunctions()
	maps.Copy(known, map[string]function{
		"subscription": func(*scope, []any) any { return map[string]any{"id": "/subscriptions/" + subscriptionID} },
		"tenant":       func(*scope, []any) any { return map[string]any{"tenantId": tenantID} },
		"environment":  func(s *scope, _ []any) any { return clouds[s.d.cloud] },
		"toLower":      func(_ *scope, a []any) any { return strings.ToLower(str(a[0])) },
		"trim":         func(_ *scope, a []any) any { return strings.TrimSpace(str(a[0])) },
		"uriComponent": func(_ *scope, a []any) any { return strings.ReplaceAll(url.QueryEscape(str(a[0])), "+", "%20") },
		"endsWith":     func(_ *scope, a []any) any { return strings.HasSuffix(str(a[0]), str(a[1])) },
		"replace":      func(_ *scope, a []any) any { return strings.ReplaceAll(str(a[0]), str(a[1]), str(a[2])) },
		"substring":    func(_ *scope, a []any) any { return str(a[0])[number(a[1]) : number(a[1])+number(a[2])] },
		"split": func(_ *scope, a []any) any {
			out := []any{}
			for p := range strings.SplitSeq(str(a[0]), str(a[1])) {
				out = append(out, p)
			}
			return out
		},
		"length": func(_ *scope, a []any) any {
			if list, ok := a[0].([]any); ok {
				return len(list)
			}
			return len(str(a[0]))
		},
		"empty": func(_ *scope, a []any) any {
			switch v := a[0].(type) {
			case []any:
				return len(v) == 0
			case map[string]any:
				return len(v) == 0
			}
			return str(a[0]) == ""
		},
		"map": func(s *scope, a []any) any {
			out := []any{}
			for _, item := range list(a[0]) {
				out = append(out, s.apply(a[1], item))
			}
			return out
		},
		"filter": func(s *scope, a []any) any {
			out := []any{}
			for _, item := range list(a[0]) {
				if s.apply(a[1], item) == true {
					out = append(out, item)
				}
			}
			return out
		},
		"concat": func(_ *scope, a []any) any {
			out := []any{}
			for _, l := range a {
				out = append(out, list(l)...)
			}
			return out
		},
		"items": func(_ *scope, a []any) any {
			object, _ := a[0].(map[string]any)
			out := []any{}
			for _, key := range slices.Sorted(maps.Keys(object)) {
				out = append(out, map[string]any{"key": key, "value": object[key]})
			}
			return out
		},
		"toObject": func(s *scope, a []any) any {
			out := map[string]any{}
			for _, item := range list(a[0]) {
				out[str(s.apply(a[1], item))] = s.apply(a[2], item)
			}
			return out
		},
		"join": func(_ *scope, a []any) any { return strings.Join(texts(list(a[0])), str(a[1])) },
		"string": func(s *scope, a []any) any {
			b, err := json.Marshal(a[0])
			if err != nil {
				return s.bad(nil, "%v", err)
			}
			return string(b)
		},
		"loadTextContent": func(s *scope, a []any) any { return s.load(str(a[0])) },
		"loadJsonContent": func(s *scope, a []any) any {
			var v any
			if err := json.Unmarshal([]byte(s.load(str(a[0]))), &v); err != nil {
				return s.bad(nil, "%s: %v", str(a[0]), err)
			}
			return v
		},
		"resourceGroup": func(s *scope, _ []any) any { return map[string]any{"id": s.group} },
		"union": func(_ *scope, a []any) any {
			out := map[string]any{}
			for _, o := range a {
				m, _ := o.(map[string]any)
				maps.Copy(out, m)
			}
			return out
		},
		"uniqueString": func(_ *scope, a []any) any { return arm.UniqueString(texts(a)...) },
		"guid":         func(_ *scope, a []any) any { return arm.GUID(texts(a)...) },
		"subscriptionResourceId": func(_ *scope, a []any) any {
			return "/subscriptions/" + subscriptionID + "/providers/" + str(a[0]) + "/" + str(a[1])
		},
	})
	return known
}

func (s *scope) apply(f, item any) any {
	l, _ := f.(lambda)
	return s.with(l.param, item).value(l.body)
}

// load reads a file beside the template.
func (s *scope) load(path string) string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(s.file.path), path))
	if err != nil {
		s.bad(nil, "%v", err)
	}
	return string(b)
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
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
	if slices.Contains(args, nil) {
		return nil // reported where it arose
	}
	return f(s, args)
}
