package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	subscription = "11111111-1111-1111-1111-111111111111"
	site         = "func-mcp-4x6c6pln5itry"
	vault        = "kv-mcp-4x6c6pln5itry"
)

// answers are what the faked Azure CLI prints, by the beginning of its
// arguments; it fails for what is not there.
type answers map[string]string

// signedIn is a subscription and a tenant in which no problem was found.
func signedIn() answers {
	providers := []string{"Web", "Storage", "KeyVault", "ManagedIdentity", "OperationalInsights", "Insights", "Network", "Authorization", "App"}
	for i, name := range providers {
		providers[i] = `{"namespace":"Microsoft.` + name + `","registrationState":"Registered"}`
	}
	return answers{
		"account show": `{"tenantId":"22222222-2222-2222-2222-222222222222","user":{"name":"somebody","type":"user"}}`,
		"functionapp list-flexconsumption-locations":                       `[{"name":"West Europe"},{"name":"northeurope"}]`,
		"functionapp list-flexconsumption-locations --zone-redundant true": `[{"name":"northeurope"}]`,
		"keyvault list-deleted":                                            `[]`,
		"provider list":                                                    "[" + strings.Join(providers, ",") + "]",
		rest("GET", "https://management.azure.com/subscriptions/"+subscription+"/providers/Microsoft.Authorization/permissions"): `{"value":[{"actions":["*"],"notActions":[]}]}`,
		rest("GET", "https://graph.microsoft.com/v1.0/policies/authorizationPolicy"):                                             `{"defaultUserRolePermissions":{"allowedToCreateApps":true}}`,
		"rest --method GET --headers ConsistencyLevel=eventual":                                                                  `{"value":[]}`,
	}
}

func rest(method, url string) string { return "rest --method " + method + " --url " + url }

// fakeCommand puts a command on a PATH of its own that prints what is in said.
func fakeCommand(t *testing.T, dir, name string, said answers) {
	t.Helper()
	// The longest beginning wins.
	keys := slices.SortedFunc(maps.Keys(said), func(a, b string) int { return len(b) - len(a) })
	var script strings.Builder
	script.WriteString("#!/bin/sh\ncase \"$*\" in\n")
	for i, key := range keys {
		answer := filepath.Join(dir, fmt.Sprintf("%s-%d", name, i))
		if err := os.WriteFile(answer, []byte(said[key]), 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "'%s'*) while IFS= read -r line || [ -n \"$line\" ]; do printf '%%s\\r\\n' \"$line\"; done <'%s' ;;\n", key, answer)
	}
	script.WriteString("*) echo 'ERROR' >&2; exit 1 ;;\nesac\n")
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script.String()), 0o700); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
}

// hook runs one with azd's variables and the faked commands, and returns what
// it printed. A sleep takes no time and moves the clock.
func hook(t *testing.T, name string, env map[string]string, commands map[string]answers, client *http.Client) (printed string, status int) {
	t.Helper()
	dir := t.TempDir()
	for command, said := range commands {
		fakeCommand(t, dir, command, said)
	}
	t.Setenv("PATH", dir)
	all := map[string]string{"AZURE_ENV_NAME": "mcp-test", "AZURE_LOCATION": "westeurope", "AZURE_SUBSCRIPTION_ID": subscription}
	maps.Copy(all, env)
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	p := &program{
		getenv: func(name string) string { return all[name] },
		run:    run,
		client: client,
		lookup: func(_ context.Context, host string) ([]string, error) {
			if host == "example.com" {
				return []string{host}, nil
			}
			return nil, errors.New("no such host")
		},
		out:   &out,
		now:   func() time.Time { return clock },
		sleep: func(_ context.Context, d time.Duration) { clock = clock.Add(d) },
		root:  "../..",
	}
	status = p.main(t.Context(), []string{name})
	return out.String(), status
}
