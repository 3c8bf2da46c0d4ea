package keyring

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"entramcp/handler/secret"
)

const (
	masterKeyPrefix  = "master-key-"
	masterKeyMinimum = 32 // characters
)

// MasterKey is the value of MASTER_KEY: 32 bytes in base64, base64url or
// hexadecimal, or any text of at least 32 characters. Space around it is
// ignored.
type MasterKey struct{ secret.Value }

// NewMasterKey makes a Wrapper of a MasterKey, and of earlier ones that may still
// have wrapped an epoch. Errors say what to write and contain no part of the keys.
func NewMasterKey(current MasterKey, previous ...MasterKey) (Wrapper, error) {
	w, err := newMasterKey(current)
	if err != nil {
		return nil, fmt.Errorf("MASTER_KEY %w", err)
	}
	var older []Wrapper
	for _, key := range previous {
		p, err := newMasterKey(key)
		if err != nil {
			return nil, fmt.Errorf("MASTER_KEY_PREVIOUS %w", err)
		}
		older = append(older, p)
	}
	return Migrating(w, older...), nil
}

// masterKey wraps with AES-256-GCM. Its id is a fingerprint of the key.
type masterKey struct {
	id   string
	aead cipher.AEAD
}

func newMasterKey(key MasterKey) (*masterKey, error) {
	bytes, err := parseMasterKey(strings.TrimSpace(key.Reveal()))
	if err != nil {
		return nil, err
	}
	return &masterKey{
		id:   masterKeyPrefix + hex.EncodeToString(expand(bytes, "entramcp/keyring/v1/master/fingerprint", 8)),
		aead: newAEAD(bytes, "entramcp/keyring/v1/master/wrap"),
	}, nil
}

func parseMasterKey(text string) ([]byte, error) {
	if utf8.RuneCountInString(text) < masterKeyMinimum {
		return nil, fmt.Errorf("is too short: it has %d characters and needs 32 random bytes in base64 "+
			"(openssl rand -base64 32) or hexadecimal, or at least %d characters of text",
			utf8.RuneCountInString(text), masterKeyMinimum)
	}
	if distinct(text) < 8 {
		return nil, errors.New("repeats itself: it needs 32 random bytes, as openssl rand -base64 32 makes them")
	}
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == epochSize {
		return raw, nil
	}
	unpadded := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	if raw, err := base64.RawURLEncoding.DecodeString(unpadded); err == nil && len(raw) == epochSize {
		return raw, nil
	}
	return []byte(text), nil
}

func distinct(text string) int {
	seen := map[rune]bool{}
	for _, c := range text {
		seen[c] = true
	}
	return len(seen)
}

func (m *masterKey) ID() string { return m.id }

func (m *masterKey) Status(id string) Status {
	if id == m.id {
		return Current
	}
	return Unknown
}

func (m *masterKey) Wrap(_ context.Context, key []byte) (string, []byte, error) {
	nonce := make([]byte, m.aead.NonceSize())
	rand.Read(nonce) // never fails
	return m.id, m.aead.Seal(nonce, nonce, key, []byte(m.id)), nil
}

func (m *masterKey) Unwrap(_ context.Context, id string, wrapped []byte) ([]byte, error) {
	n := m.aead.NonceSize()
	if id != m.id || len(wrapped) < n {
		return nil, ErrWrongKey
	}
	key, err := m.aead.Open(nil, wrapped[:n], wrapped[n:], []byte(m.id))
	if err != nil {
		return nil, ErrWrongKey
	}
	return key, nil
}

// Format keeps the key out of anything that is printed.
func (m *masterKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.id) }

// LogValue keeps the key out of the log.
func (m *masterKey) LogValue() slog.Value { return slog.StringValue(m.id) }
