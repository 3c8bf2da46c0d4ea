package grants

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// validChallenge: 43 base64url characters, the S256 of something (RFC 7636 §4.2).
func validChallenge(challenge string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	return err == nil && len(b) == sha256.Size
}

// proves reports whether verifier is the one behind an S256 challenge. A
// verifier outside the syntax of RFC 7636 §4.1 proves nothing: a short one could
// be guessed.
func proves(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	for i := range len(verifier) {
		if !unreserved(verifier[i]) {
			return false
		}
	}
	sum := sha256.Sum256([]byte(verifier))
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(got), []byte(challenge)) == 1
}

// unreserved of RFC 3986 §2.3.
func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}
