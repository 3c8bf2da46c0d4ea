package entra

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/entra.md again")

// kindsInWords are the headings, in the order of who has to do something.
var kindsInWords = []struct {
	kind    Kind
	heading string
}{
	{Declined, "The user decided"},
	{InteractionNeeded, "The user signs in again"},
	{SignInOver, "The sign-in is used up"},
	{ConsentNeeded, "An administrator approves"},
	{NotAllowed, "The user may not sign in here"},
	{Misconfigured, "The operator has something to fix"},
	{Unavailable, "It passes"},
}

func TestEveryErrorNumberIsDocumented(t *testing.T) {
	const path, begin, end = "../../docs/entra.md", "<!-- error numbers -->\n", "<!-- end of error numbers -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the tables", path)
	}
	want := before + begin + tables() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s differs from the table in the code: run go test ./handler/entra -run Documented -update", path)
	}
}

// tables has a row for each explanation, with the numbers that share it.
func tables() string {
	var b strings.Builder
	documented := 0
	for _, k := range kindsInWords {
		rows := map[Explanation][]int{}
		for code, e := range explanations {
			if e.Kind == k.kind {
				rows[e] = append(rows[e], code)
				documented++
			}
		}
		fmt.Fprintf(&b, "\n### %s\n\n| AADSTS | what happened | what to do |\n|---|---|---|\n", k.heading)
		for _, codes := range rows {
			slices.Sort(codes)
		}
		for _, e := range slices.SortedFunc(maps.Keys(rows), func(a, b Explanation) int { return cmp.Compare(rows[a][0], rows[b][0]) }) {
			var numbers []string
			for _, code := range rows[e] {
				numbers = append(numbers, strconv.Itoa(code))
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(numbers, ", "), e.Summary, e.NextStep)
		}
	}
	if documented != len(explanations) {
		panic("an explanation has a kind without a heading")
	}
	return b.String() + "\n"
}
