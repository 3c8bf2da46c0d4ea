package pages

import (
	"slices"
	"strings"
)

// Accepted reports whether one of media is among what the Accept headers name,
// whatever their weights.
func Accepted(accept []string, media ...string) bool {
	for named := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		named, _, _ = strings.Cut(named, ";")
		if slices.Contains(media, strings.ToLower(strings.TrimSpace(named))) {
			return true
		}
	}
	return false
}
