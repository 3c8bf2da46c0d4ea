package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"entramcp/infra/arm"
)

// parameter is one of main.bicep, and the variable that main.parameters.json
// takes it from.
type parameter struct {
	variable, fallback string
	kind               string // string, int or bool
	allowed            []string
	least, most        *int
	// setting is the server's, where the variable is part of serverSettings.
	setting string
}

var (
	substitution  = regexp.MustCompile(`^\$\{(\w+)(?:=([^}]*))?\}$`)
	declaration   = regexp.MustCompile(`(?m)^param (\w+) (\w+)`)
	allowedValues = regexp.MustCompile(`(?s)@allowed\(\[(.*?)\]\)`)
	limits        = regexp.MustCompile(`@(min|max)Value\((-?\d+)\)`)
)

// readParameters reads main.parameters.json and, for types and limits,
// main.bicep: one list for the deployment and for the check before it.
func readParameters(root string) ([]parameter, error) {
	b, err := os.ReadFile(filepath.Join(root, "infra", "main.parameters.json"))
	if err != nil {
		return nil, err
	}
	var file struct {
		Parameters map[string]struct{ Value any }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("main.parameters.json: %w", err)
	}
	bicep, err := os.ReadFile(filepath.Join(root, "infra", "main.bicep"))
	if err != nil {
		return nil, err
	}
	declared := declarations(string(bicep))
	var out []parameter
	for name, p := range file.Parameters {
		switch value := p.Value.(type) {
		case string:
			m := substitution.FindStringSubmatch(value)
			if m == nil {
				continue
			}
			d := declared[name]
			d.variable, d.fallback = m[1], m[2]
			out = append(out, d)
		case map[string]any:
			for setting, v := range value {
				text, _ := v.(string)
				if m := substitution.FindStringSubmatch(text); m != nil {
					out = append(out, parameter{variable: m[1], fallback: m[2], kind: "string", setting: setting})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b parameter) int { return strings.Compare(a.variable, b.variable) })
	return out, nil
}

// declarations are the parameters of a Bicep file with their decorators, which
// stand between one declaration and the next.
func declarations(bicep string) map[string]parameter {
	out := map[string]parameter{}
	from := 0
	for _, at := range declaration.FindAllStringSubmatchIndex(bicep, -1) {
		decorators := bicep[from:at[0]]
		from = at[1]
		p := parameter{kind: bicep[at[4]:at[5]]}
		if m := allowedValues.FindStringSubmatch(decorators); m != nil {
			p.allowed = strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune("', \t\r\n", r) })
		}
		for _, m := range limits.FindAllStringSubmatch(decorators, -1) {
			if n, err := strconv.Atoi(m[2]); err == nil {
				if m[1] == "min" {
					p.least = &n
				} else {
					p.most = &n
				}
			}
		}
		out[bicep[at[2]:at[3]]] = p
	}
	return out
}

// names are those of resources that are known before anything exists, as
// main.bicep makes them.
type names struct{ site, vault, group string }

func (p *program) names() names {
	subscription := "/subscriptions/" + p.getenv("AZURE_SUBSCRIPTION_ID")
	suffix := arm.UniqueString(subscription, p.getenv("AZURE_ENV_NAME"), p.getenv("AZURE_LOCATION"))
	return names{site: "func-mcp-" + suffix, vault: "kv-mcp-" + suffix, group: "rg-" + p.getenv("AZURE_ENV_NAME")}
}

// host is where the function app answers, in the public cloud or, by its
// regions, in that of the US government.
func (p *program) host() string {
	if strings.HasPrefix(p.getenv("AZURE_LOCATION"), "usgov") {
		return p.names().site + ".azurewebsites.us"
	}
	return p.names().site + ".azurewebsites.net"
}

// origin is PUBLIC_URL as main.bicep makes it.
func (p *program) origin() string {
	if own := strings.TrimSuffix(strings.TrimSpace(p.getenv("MCP_PUBLIC_URL")), "/"); own != "" {
		return own
	}
	return "https://" + p.host()
}

// list reads values that commas or white space separate.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}
