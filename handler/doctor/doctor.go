// Package doctor checks a configuration and a running server for an operator. Each
// check returns one line: what was checked, what was found and, where it is wrong,
// what to do. Checks leave nothing behind, and no line contains a secret.
package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"entramcp/handler/config"
	"entramcp/handler/warnings"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts. Undecided is for what cannot be observed from here.
const (
	Passed    Verdict = "ok"
	Failed    Verdict = "wrong"
	Undecided Verdict = "unknown"
)

// Finding is one line for an operator: what was checked, what was seen and, if
// it is wrong, the exact fix.
type Finding struct {
	Check   string
	Verdict Verdict
	Detail  string
	Fix     string
}

// OK is the finding of a check that passed.
func OK(check, detail string) Finding {
	return Finding{Check: check, Verdict: Passed, Detail: detail}
}

// Wrong is the finding of a check that failed.
func Wrong(check, detail, fix string) Finding {
	return Finding{Check: check, Verdict: Failed, Detail: detail, Fix: fix}
}

// Unknown is the finding of a check that could not be made.
func Unknown(check, detail, fix string) Finding {
	return Finding{Check: check, Verdict: Undecided, Detail: detail, Fix: fix}
}

// judged is the first warning that facts give rise to, in its own words; without
// one the check has passed.
func judged(check, detail string, facts warnings.Facts) Finding {
	if found := warnings.Of(facts); len(found) > 0 {
		return Wrong(check, found[0].Summary, found[0].Fix)
	}
	return OK(check, detail)
}

// Configuration reports each problem of a configuration, or that there is none.
func Configuration(cfg config.Config, problems config.Problems) []Finding {
	var findings []Finding
	if len(problems) == 0 {
		findings = append(findings, OK("configuration", fmt.Sprintf("%s for tenant %s, with a %s", cfg.Issuer, cfg.Entra.TenantID, cfg.Credential())))
	}
	for _, n := range cfg.Notices {
		findings = append(findings, Unknown("configuration", n.Name+" "+n.Wrong, n.Write+"."))
	}
	for _, p := range problems {
		findings = append(findings, Wrong("configuration", p.Name+" "+p.Wrong, p.Write+"."))
	}
	return findings
}

// Print writes one aligned line a finding and a last one that sums them up. It
// returns how many are wrong.
func Print(w io.Writer, findings []Finding) (bad int) {
	width := 0
	for _, f := range findings {
		width = max(width, utf8.RuneCountInString(f.Check))
	}
	unknown := 0
	for _, f := range findings {
		line := fmt.Sprintf("%-7s  %-*s  %s", f.Verdict, width, f.Check, oneLine(f.Detail))
		if f.Fix != "" {
			line += " — " + oneLine(f.Fix)
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(line, " "))
		switch f.Verdict {
		case Failed:
			bad++
		case Undecided:
			unknown++
		}
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", summary(len(findings), bad, unknown))
	return bad
}

func summary(all, bad, unknown int) string {
	switch {
	case bad > 0:
		return fmt.Sprintf("%d of %d checks found something wrong.", bad, all)
	case unknown > 0:
		return fmt.Sprintf("Nothing is wrong. %d of %d checks could not be made.", unknown, all)
	}
	return "Nothing is wrong."
}

// maxLine bounds what others' error texts add to a line, in characters.
const maxLine = 400

// oneLine keeps a text that others have a part in to one line of the terminal
// and free of control characters.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, text)), " ")
	if utf8.RuneCountInString(text) > maxLine {
		text = string([]rune(text)[:maxLine]) + "…"
	}
	return text
}
