package keyring

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"entramcp/handler/secret"
)

// keys are an epoch's bytes and what was derived from them so far.
type keys struct {
	kid   string
	epoch secret.Value // 32 bytes
	aeads sync.Map     // Purpose → cipher.AEAD
	macs  sync.Map     // Purpose → []byte
}

// Format keeps the bytes out of anything that is printed.
func (k *keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keys of "+k.kid) }

// LogValue keeps the bytes out of the log.
func (k *keys) LogValue() slog.Value { return slog.StringValue("keys of " + k.kid) }

// newAEAD is AES-256-GCM under a key that is derived for info.
func newAEAD(key []byte, info string) cipher.AEAD {
	block, err := aes.NewCipher(expand(key, info, 32))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return gcm
}

// aead is AES-256-GCM under a key of its own.
//
// Nonces are 96 random bits. NIST SP 800-38D §8.3 allows 2^32 of them under
// one key, at which a collision has a chance of 2^-33. A key serves one
// purpose for the 30 days of an epoch: 2^32 is 1650 a second without pause.
// A flood beyond that, which only the consent form's unauthenticated GET could
// see, endangers consent forms of that epoch and nothing else.
func (k *keys) aead(p Purpose) cipher.AEAD {
	if a, ok := k.aeads.Load(p); ok {
		return a.(cipher.AEAD)
	}
	a, _ := k.aeads.LoadOrStore(p, newAEAD([]byte(k.epoch.Reveal()), "entramcp/keyring/v1/seal/"+string(p)))
	return a.(cipher.AEAD)
}

func (k *keys) mac(p Purpose) []byte {
	if m, ok := k.macs.Load(p); ok {
		return m.([]byte)
	}
	m, _ := k.macs.LoadOrStore(p, expand([]byte(k.epoch.Reveal()), "entramcp/keyring/v1/mac/"+string(p), 32))
	return m.([]byte)
}

// Seal encrypts plaintext for one purpose and binds it to ad, which Open must
// be given again. The text is unpadded base64url (RFC 4648 §5), 12+4/3·(28+n)
// characters long, and begins with the epoch's key id. An error means that
// the ring cannot be loaded.
func (r *Ring) Seal(ctx context.Context, p Purpose, ad, plaintext []byte) (string, error) {
	k, err := r.current(ctx)
	if err != nil {
		return "", err
	}
	gcm := k.aead(p)
	nonce := make([]byte, gcm.NonceSize(), gcm.NonceSize()+len(plaintext)+gcm.Overhead())
	rand.Read(nonce) // never fails
	return k.kid + base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plaintext, ad)), nil
}

// Open returns the plaintext of what Seal made for the same purpose and ad.
// It fails with ErrNotOurs, or with another error if the ring cannot be read.
func (r *Ring) Open(ctx context.Context, p Purpose, ad []byte, sealed string) ([]byte, error) {
	// The decoder skips line breaks, but a sealed text must have one form only, so
	// that it can be compared and hashed.
	if len(sealed) <= kidLength || strings.ContainsAny(sealed, "\r\n") {
		return nil, ErrNotOurs
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed[kidLength:])
	if err != nil {
		return nil, ErrNotOurs
	}
	k, err := r.lookup(ctx, sealed[:kidLength], time.Time{})
	if err != nil {
		return nil, err
	}
	gcm := k.aead(p)
	if len(raw) < gcm.NonceSize()+gcm.Overhead() {
		return nil, ErrNotOurs
	}
	plaintext, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], ad)
	if err != nil {
		return nil, ErrNotOurs
	}
	return plaintext, nil
}

// Signing returns the MAC key of 32 bytes to sign with now, and its id. The
// key must not be modified. An error means that the ring cannot be loaded.
func (r *Ring) Signing(ctx context.Context, p Purpose) (kid string, key []byte, err error) {
	k, err := r.current(ctx)
	if err != nil {
		return "", nil, err
	}
	return k.kid, k.mac(p), nil
}

// Verifying returns the MAC key that Signing returned with kid, for an artefact
// that says when it was issued. The key must not be modified. It fails with
// ErrNotOurs if there is no such key, and with another error if the ring cannot
// be read, or was read last before the artefact was issued and has no such key.
func (r *Ring) Verifying(ctx context.Context, p Purpose, kid string, issued time.Time) ([]byte, error) {
	if len(kid) != kidLength {
		return nil, ErrNotOurs
	}
	k, err := r.lookup(ctx, kid, issued)
	if err != nil {
		return nil, err
	}
	return k.mac(p), nil
}
