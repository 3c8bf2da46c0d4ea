package oauth

import (
	"strings"
	"testing"
)

func TestPKCE(t *testing.T) {
	// RFC 7636 appendix B.
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if S256(verifier) != challenge || !ValidChallenge(challenge) || !VerifierMatches(verifier, challenge) {
		t.Error("the example of RFC 7636 does not match")
	}
	if v := NewVerifier(); !VerifierMatches(v, S256(v)) || !ValidChallenge(S256(v)) || v == NewVerifier() {
		t.Error("our own verifier does not match its challenge, or repeats")
	}
	if longest := strings.Repeat("a", 128); !VerifierMatches(longest, S256(longest)) {
		t.Error("a verifier of 128 characters does not match")
	}
	for _, bad := range []string{"", challenge[:42], challenge + "A", challenge[:42] + "N", challenge[:42] + "=", challenge[:20] + "\n" + challenge[20:], challenge[:41] + "A\n"} {
		if ValidChallenge(bad) {
			t.Errorf("challenge %q is valid", bad)
		}
	}
	for _, bad := range []string{"", verifier[:42], strings.Repeat("a", 129), verifier[:42] + "+", verifier[:21] + "é" + verifier[23:]} {
		if VerifierMatches(bad, S256(bad)) {
			t.Errorf("verifier %q matches", bad)
		}
	}
}
