package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEachWayOfMicrosoftsCallersNamesItsTest: each section on a caller names a case
// of the test that takes every way to a tool, and each case is named.
func TestEachWayOfMicrosoftsCallersNamesItsTest(t *testing.T) {
	page := read(t, "docs/microsoft-callers.md")
	source := read(t, "handler/microsoftcallers_test.go")
	var cases []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t"([^"]+)": \{func\(w`).FindAllStringSubmatch(source, -1) {
		cases = append(cases, strings.ReplaceAll(m[1], " ", "_")) // as go test -run takes it
	}
	if len(cases) < 12 {
		t.Fatalf("only %q", cases)
	}
	named := regexp.MustCompile("`handler_test\\.TestEachWayOfMicrosoftsCallersReachesATool/([^`]+)`")
	sections := strings.Split(page, "\n### ")
	if len(sections) < 9 {
		t.Errorf("only %d sections", len(sections)-1)
	}
	for _, section := range sections[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		if !named.MatchString(text) {
			t.Errorf("%s: no test", heading)
		}
	}
	var all []string
	for _, m := range named.FindAllStringSubmatch(page, -1) {
		if all = append(all, m[1]); !slices.Contains(cases, m[1]) {
			t.Errorf("there is no case %s", m[1])
		}
	}
	for _, name := range cases {
		if !slices.Contains(all, name) {
			t.Errorf("the page does not name %s", name)
		}
	}
}
