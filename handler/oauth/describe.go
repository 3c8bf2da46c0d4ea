package oauth

import "strings"

// maxDescription bounds an error_description, in bytes. Clients show it on one
// screen, and it travels in redirect URIs.
const maxDescription = 400

var asciiPunctuation = strings.NewReplacer("’", "'", "‘", "'", "“", "'", "”", "'", `"`, "'", "–", "-", "—", "-", "…", "...", "§", "section ")

// Describe makes text fit for an error_description (RFC 6749 §4.1.2.1, §5.2;
// RFC 6750 §3): printable ASCII without quotation mark and backslash, at most
// 400 bytes. Typographic characters become ASCII, others are left out. Every
// description that is sent to a client passes through it.
func Describe(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '\\' {
			return -1
		}
		return r
	}, asciiPunctuation.Replace(text))
	if len(text) > maxDescription {
		text = text[:maxDescription-3] + "..."
	}
	return text
}
