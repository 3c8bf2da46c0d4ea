package toolkit_test

import (
	"fmt"
	"testing"

	"entramcp/handler/entra"
	"entramcp/handler/toolkit"
)

// TestAnErrorOfEntraHasItsLinkOnce, wherever the words have it already.
func TestAnErrorOfEntraHasItsLinkOnce(t *testing.T) {
	const link = "https://login.example/consent"
	for want, upstream := range map[string]entra.Error{
		"It failed. Try again.":               {Summary: "It failed.", NextStep: "Try again."},
		"It failed. Consent. " + link:         {Summary: "It failed.", NextStep: "Consent.", ConsentURL: link},
		"It failed. Consent at " + link + ".": {Summary: "It failed.", NextStep: "Consent at " + link + ".", ConsentURL: link},
	} {
		if got := toolkit.Explain(fmt.Errorf("wrapped: %w", &upstream)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
