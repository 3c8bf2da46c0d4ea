package bench

import (
	"fmt"
	"testing"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

// BenchmarkCallers measures a call with a token that Entra issued to an application
// beside one with a token of this server, in one run and in turn: at a server that
// takes both, and at one that takes its own alone, which shows what the setting costs
// those who do not use it.
func BenchmarkCallers(b *testing.B) {
	const clientID, robot = "44444444-4444-4444-8444-000000000003", "0b071000-0000-4000-8000-00000000000b"
	t, authority := startTenant(b)
	program := binary(b, "..", "./bench/own")
	open := func(name, callers string) server {
		s := start(b, name, program, nil, map[string]string{
			"ENTRA_AUTHORITY": authority, "ENTRA_TENANT_ID": stack.TenantID, "ENTRA_CLIENT_ID": clientID, "ENTRA_CLIENT_SECRET": stack.ClientSecret,
			"ENTRA_APP_CALLERS": callers, "LOG_LEVEL": "warn", "DATA_DIR": b.TempDir(), "TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
		}, "/readyz")
		register(b, t, clientID, s)
		if err := t.Reconfigure(clientID, func(a *tenant.App) { a.ApplicationRoles = []string{tenant.InvokeRole} }); err != nil {
			b.Fatal(err)
		}
		s.token = accessTo(b, s)
		return s
	}
	alone := open("own token, Entra's are off", "off")
	both := open("own token, Entra's are on", "roles")
	entras := both
	entras.name = "Entra's token"
	var err error
	if entras.token, err = t.Issue(tenant.CallerToken{App: robot, Roles: []string{tenant.InvokeRole}, For: clientID}); err != nil {
		b.Fatal(err)
	}
	sc := scenario{title: "tools/call hello_world, 16 connections", connections: 16, contains: "Ada", body: hello}
	fmt.Printf("%s\n\n%s\n", sc.title, table(measure(b, sc, []server{alone, both, entras})))
	b.ReportMetric(0, "ns/op")
}
