package clients

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest client name in characters; it must fit on a consent
// page on a phone.
const maxName = 64

// sanitiseName makes a self-asserted name fit to be shown: without control and
// format characters (which include the bidirectional overrides and zero-width
// characters that make one text look like another), without fillers, in one
// line, at most maxName characters.
func sanitiseName(name string) string {
	if !utf8.ValidString(name) {
		name = strings.ToValidUTF8(name, "")
	}
	var b strings.Builder
	count, space := 0, false
	for _, r := range name {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case !unicode.IsGraphic(r), unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			continue
		}
		if space && count < maxName {
			b.WriteByte(' ')
			count++
		}
		space = false
		if count >= maxName {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}
