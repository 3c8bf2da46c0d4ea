package oauth

import (
	"strings"
	"testing"
)

func TestDescriptionsKeepToTheCharactersOfTheSpecification(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"Plain text.":           "Plain text.",
		"!#[]^~":                "!#[]^~",
		"RFC 7591 §2":           "RFC 7591 section 2",
		`He said “no” – "now"…`: "He said 'no' - 'now'...",
		"a\r\nb\tc\x00\x7f\\":   "abc",
		"\u202eevil 日本":         "evil ",
	} {
		if got := Describe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if whole := strings.Repeat("x", maxDescription); Describe(whole) != whole {
		t.Errorf("%d bytes are cut", maxDescription)
	}
	if got := Describe(strings.Repeat("x", 1000)); len(got) != maxDescription || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add("a “quoted” §\x00")
	f.Fuzz(func(t *testing.T, text string) {
		got := Describe(text)
		for i := range len(got) {
			if c := got[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				t.Fatalf("%q holds %q", got, c)
			}
		}
		if len(got) > maxDescription || Describe(got) != got {
			t.Fatalf("%q: %d bytes, or not a fixed point", got, len(got))
		}
	})
}
