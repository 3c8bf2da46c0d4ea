package clients

import (
	"strings"
	"unicode"
)

const (
	// maxName is the longest client name in characters; it must fit on a
	// consent page on a phone.
	maxName = 64
	// maxMarks is how many combining marks one letter may carry. Scripts in use need
	// two; more would cover the lines above and below.
	maxMarks = 2
	// namePunctuation are the characters beside letters, digits and spaces.
	namePunctuation = "-_.,:;/+&'()!?#@"
)

// sanitizeName makes a self-asserted name fit to be shown: letters, digits, single
// spaces and plain punctuation of one line, at most maxName characters. A name then
// has no symbol that this server's pages use themselves, and no character that makes
// one text look like another (controls, bidirectional overrides, zero width,
// fillers).
func sanitizeName(name string) string {
	var b strings.Builder
	count, marks, space := 0, maxMarks, false
	for _, r := range name { // what is not UTF-8 comes as U+FFFD
		switch {
		case unicode.IsSpace(r):
			space, marks = b.Len() > 0, maxMarks
			continue
		case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			continue
		case unicode.IsMark(r):
			if marks++; marks <= maxMarks && !unicode.In(r, unicode.Me) {
				b.WriteRune(r)
			}
			continue
		case unicode.IsLetter(r):
			marks = 0
		case unicode.Is(unicode.Nd, r), strings.ContainsRune(namePunctuation, r):
			marks = maxMarks
		default:
			continue
		}
		if space && count < maxName {
			b.WriteByte(' ')
			count++
		}
		space = false
		if count >= maxName {
			return strings.TrimRight(b.String(), " ") + "…"
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}
