package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTheSimulationIsNeverDeployed: nothing under dev, above all the simulated
// tenant, can be reached from the binary or from a package of the handler, whose
// tests alone may; and none of the tools that only tests need gets into it.
func TestTheSimulationIsNeverDeployed(t *testing.T) {
	for _, args := range [][]string{{"list", "-deps", "."}, {"list", "-deps", "./handler/..."}} {
		for _, path := range goList(t, args...) {
			if strings.HasPrefix(path, "entramcp/dev") || strings.HasPrefix(path, "entramcp/e2e") {
				t.Errorf("go %s: %s", strings.Join(args, " "), path)
			}
		}
	}
	for _, path := range goList(t, "list", "-deps", ".") {
		for _, tool := range []string{"testing", "net/http/httptest", "github.com/chromedp", "pgregory.net/rapid", "github.com/rogpeppe", "github.com/google/go-cmp"} {
			if path == tool || strings.HasPrefix(path, tool+"/") {
				t.Errorf("the deployed binary holds %s", path)
			}
		}
	}
}

// TestImportsPointOneWay: main → process → handler → {authserver, resource, tools →
// toolkit} → {clients, grants, entra} → {keyring, store}, with oauth for all. Every
// package has its place.
func TestImportsPointOneWay(t *testing.T) {
	level := map[string]int{
		"ratelimit": -1, "secret": -1, "version": -1, "warnings": -1, "cors": -1, "clocktest": -1, "logtest": -1,
		"oauth": 0, "store": 0, "observe": 0, "pages": 0,
		"keyring": 1, "sweep": 1, "health": 1, "middleware": 1, "mcphttp": 1,
		"clients": 2, "grants": 2, "entra": 2, "telemetry": 2,
		"config": 3, "authserver": 3, "resource": 3, "toolkit": 3, "account": 3, "connect": 3,
		"tools": 4, "home": 4, "manifest": 4, "backend": 4,
		"operator": 5, "doctor": 5, "process": 6,
	}
	inHandler := func(path string) string {
		rest, ok := strings.CutPrefix(path, "entramcp/handler/")
		if !ok {
			return ""
		}
		first, _, _ := strings.Cut(rest, "/")
		return first
	}
	for _, line := range goList(t, "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./handler/...") {
		paths := strings.Fields(line)
		from := inHandler(paths[0])
		if _, known := level[from]; !known && from != "" {
			t.Errorf("%s has no place among the others", paths[0])
		}
		for _, path := range paths[1:] {
			to := inHandler(path)
			if from == "" || to == "" || to == from {
				continue
			}
			if level[to] >= level[from] && to != "oauth" {
				t.Errorf("%s imports %s", paths[0], path)
			}
		}
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
