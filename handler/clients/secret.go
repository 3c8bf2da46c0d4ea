package clients

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a client_secret: 32 random bytes in base64url. It is shown once,
// in the answer to the registration.
type Secret string

const redacted = "[redacted]"

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// String hides the secret from fmt; string(s) is the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the secret from encoders, as in a struct that is logged.
// Only a Registration encodes it.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func newSecret(random io.Reader) (Secret, error) {
	text, err := randomText(random, 32)
	return Secret(text), err
}

func randomText(random io.Reader, bytes int) (string, error) {
	b := make([]byte, bytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// secretHash is the SHA-256 of a secret. A slow hash protects what people
// choose and attackers guess; 256 random bits cannot be guessed at any speed,
// and the token endpoint would pay for it on every request.
type secretHash []byte

func hashSecret(s Secret) secretHash {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// matches compares in constant time. No secret matches the hash of a client
// that has none.
func (h secretHash) matches(s Secret) bool {
	return len(h) == sha256.Size && subtle.ConstantTimeCompare(h, hashSecret(s)) == 1
}
