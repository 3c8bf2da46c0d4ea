package main

import (
	"slices"
	"strings"
)

// finding is something that would fail later, or that could not be looked at.
type finding struct {
	// check names it for MCP_PREFLIGHT_SKIP.
	check string
	// unknown: it could not be looked at, which refuses nothing.
	unknown bool
	what    string
	// remedy is what to type, one command a line.
	remedy string
}

// report prints one list and returns the exit status.
func (p *program) report(findings []finding) int {
	skipped := list(p.getenv("MCP_PREFLIGHT_SKIP"))
	refused := 0
	for _, f := range findings {
		verdict := "refused"
		switch {
		case f.unknown:
			verdict = "not checked"
		case slices.Contains(skipped, f.check):
			verdict = "skipped"
		default:
			refused++
		}
		p.say("%-11s  %s: %s\n", verdict, f.check, f.what)
		for line := range strings.Lines(f.remedy) {
			p.say("%-11s    %s\n", "", strings.TrimRight(line, "\n"))
		}
	}
	if refused > 0 {
		p.say("\nNothing was created. Do what is listed above and run the command again. To skip a check that is wrong about your\ncase: azd env set MCP_PREFLIGHT_SKIP \"<name>\"\n")
		return 1
	}
	if len(findings) == 0 {
		p.say("Checked before provisioning: no problem was found.\n")
	}
	return 0
}
