package docs

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestTheAuditPageHasEveryEvent: its names are what queries are made of.
func TestTheAuditPageHasEveryEvent(t *testing.T) {
	names := func(path, pattern string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	events := names("../handler/observe/audit.go", `EventName\s*= "([a-z_]+)"`)
	listed := names("audit.md", "(?m)^\\| `([a-z_]+)` \\| .* \\| (?:3002|6003) \\|")
	if !slices.Equal(events, listed) || len(events) < 20 {
		t.Errorf("the server has %v\nthe page %v", events, listed)
	}
	members := names("../handler/observe/audit.go", `(?:text|slog\.\w+)\("([a-z_]+)"`)
	page := read(t, "docs/audit.md")
	for _, m := range members {
		if m != "category" && !regexp.MustCompile("`"+m+"`").MatchString(page) {
			t.Errorf("the member %s is not on the page", m)
		}
	}
}
