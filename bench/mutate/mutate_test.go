//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const fixture = "testdata/fixture/fixture.go"

// TestMutantsAreTheseChanges is every change to the fixture, as its line becomes.
func TestMutantsAreTheseChanges(t *testing.T) {
	source, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	found, err := mutantsOf(fixture, source)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		line := strings.Split(string(m.apply(source)), "\n")[m.line-1]
		got = append(got, fmt.Sprintf("%d %s: %s", m.line, m.change, strings.TrimSpace(line)))
	}
	want := []string{
		"10 condition negated: if !(n < 0) {",
		"10 operator exchanged for <=: if n <= 0 {",
		"10 body of the if dropped: if n < 0 {}",
		"11 error returned as nil: return 0, nil",
		"13 call deleted: ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the mutants are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestSurvivorsAreThoseThatNoTestNotices: two of the five changes are to what
// the fixture's test does not look at.
func TestSurvivorsAreThoseThatNoTestNotices(t *testing.T) {
	before, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	var report bytes.Buffer
	if err := measure(t.Context(), &report, "testdata/fixture", 10, 1); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(report.String()), "\n")
	slices.Sort(lines)
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "survived "+fixture+":10 operator exchanged for <=: n < 0") ||
		lines[1] != "survived "+fixture+":13 call deleted: note(n)" ||
		!strings.HasPrefix(lines[2], "testdata/fixture: 3 of 5 killed (60 %)") {
		t.Errorf("the report is\n%s", report.String())
	}
	if after, err := os.ReadFile(fixture); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the fixture was changed: %v", err)
	}
}

// TestAPackageThatFailsAnywayIsNotMeasured: each of its mutants would count as
// killed.
func TestAPackageThatFailsAnywayIsNotMeasured(t *testing.T) {
	directory := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module failing\n\ngo 1.24\n",
		"a.go":      "package failing\n\nfunc A() bool { return true }\n",
		"a_test.go": "package failing\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Fail() }\n",
	} {
		if err := os.WriteFile(directory+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := measure(t.Context(), new(bytes.Buffer), directory, 1, 1)
	if err == nil || !strings.Contains(err.Error(), "the tests fail without any change") {
		t.Errorf("measured: %v", err)
	}
}
