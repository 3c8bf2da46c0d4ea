package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// NewVerifier returns a PKCE code verifier of 256 random bits (RFC 7636 §4.1).
func NewVerifier() string { return randomText(32) }

// RandomID returns 128 random bits in unpadded base64url.
func RandomID() string { return randomText(16) }

func randomText(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails: the program ends instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// S256 is the code challenge of verifier (RFC 7636 §4.2).
func S256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ValidChallenge reports whether challenge can be the S256 of a verifier: 43
// characters of base64url whose spare bits are zero.
func ValidChallenge(challenge string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	return err == nil && len(b) == sha256.Size && len(challenge) == 43
}

// VerifierMatches reports whether verifier is the one behind an S256 challenge
// (RFC 7636 §4.6). A verifier outside the syntax of §4.1 never matches: a short
// one could be guessed.
func VerifierMatches(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || strings.Trim(verifier, unreserved) != "" {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(S256(verifier)), []byte(challenge)) == 1
}

// unreserved are the characters of RFC 3986 §2.3.
const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
