package docs

import (
	"regexp"
	"testing"

	"entramcp/handler/config"
)

// TestTheSettingsPageIsTheTable: one line for each setting that is read, with
// its default, and no other.
func TestTheSettingsPageIsTheTable(t *testing.T) {
	text := read(t, "docs/configuration.md")
	type row struct{ fallback, does string }
	rows := map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(text, -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two lines", m[1])
		}
		rows[m[1]] = row{m[2], m[3]}
	}
	for _, s := range config.Settings {
		want := row{s.Default, s.Does}
		if want.fallback == "" {
			want.fallback = "–"
		}
		if rows[s.Name] != want {
			t.Errorf("%s: the page says %q, the table %q", s.Name, rows[s.Name], want)
		}
		delete(rows, s.Name)
	}
	for name := range rows {
		t.Errorf("%s is on the page, and nobody reads it", name)
	}
}
