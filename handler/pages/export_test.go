package pages

import (
	"maps"
	"slices"
)

// Problems are those that have words.
func Problems() []Problem { return slices.Sorted(maps.Keys(problemWords)) }
