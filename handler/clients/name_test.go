package clients

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNameIsFitToBeShown(t *testing.T) {
	for given, want := range map[string]string{
		"Claude":                                     "Claude",
		"  a \t\n b  ":                               "a b",
		"Claude Code (my-server)":                    "Claude Code (my-server)",
		"evil\u202egnp.exe":                          "evilgnp.exe",
		"\u200bzero\ufeff\u2066width":                "zerowidth",
		"nul\x00\x1b[31m":                            "nul31m",
		"filler\u3164\u115f":                         "filler",
		"bad\xff":                                    "bad",
		"日本語 クライアント":                                 "日本語 クライアント",
		"Điện thoại":                                 "Điện thoại",
		"Die\u0323\u0302n":                           "Die\u0323\u0302n",
		"हिन्दी":                                     "हिन्दी",
		"✔ Verified: claude.ai ────":                 "Verified: claude.ai",
		"☑✅🔒 Claude":                                 "Claude",
		"Cla" + strings.Repeat("\u0301", 40) + "ude": "Cla\u0301\u0301ude",
		strings.Repeat("\u0301", 40) + "Claude":      "Claude",
		"1\u20e3 2\u0301 -\u0301":                    "1 2 -",
		"<b>Claude</b> \"x\" `y` {z}|\\":             "bClaude/b x y z",
		strings.Repeat("x", maxName):                 strings.Repeat("x", maxName),
		strings.Repeat("x", maxName+100):             strings.Repeat("x", maxName) + "…",
		"\u202e\u202e":                               "",
	} {
		if got := sanitizeName(given); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}

func FuzzNameHoldsNoMarkOfOurs(f *testing.F) {
	for _, name := range []string{"Claude", "✔ Verified: claude.ai ────", "a\u0301\u0301\u0301b", "\u202ex"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, given string) {
		name := sanitizeName(given)
		if sanitizeName(strings.TrimSuffix(name, "…")) != strings.TrimSuffix(name, "…") {
			t.Errorf("%q is not stable", name)
		}
		if utf8.RuneCountInString(name) > maxName*(1+maxMarks)+1 {
			t.Errorf("%q is too long", name)
		}
		for _, r := range strings.TrimSuffix(name, "…") {
			if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Nd, r) && r != ' ' && !strings.ContainsRune(namePunctuation, r) {
				t.Errorf("%q holds %q", name, r)
			}
		}
	})
}
