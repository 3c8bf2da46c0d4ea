package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrWrongKey says that a wrapping key is not the one that wrapped an epoch.
var ErrWrongKey = errors.New("keyring: wrapped by another key")

// Status is what a wrapping key is to a Wrapper.
type Status int

const (
	// Unknown: the wrapper has no such key.
	Unknown Status = iota
	// Previous: it unwraps with the key and no longer wraps with it. What the key
	// wrapped must be wrapped again.
	Previous
	// Current: it wraps with the key.
	Current
)

// Wrapper encrypts epochs with a key that is kept apart from the table.
type Wrapper interface {
	// ID names the key that wraps. It holds no secret.
	ID() string
	// Status reports what the key is that Wrap named id.
	Status(id string) Status
	// Wrap encrypts key. The id it returns is stored beside what it wrapped, and
	// names the version of the key if it has versions.
	Wrap(ctx context.Context, key []byte) (id string, wrapped []byte, err error)
	// Unwrap reverses Wrap. It fails with ErrWrongKey if the wrapper has no key
	// named id or another key wrapped it; other errors are outages.
	Unwrap(ctx context.Context, id string, wrapped []byte) (key []byte, err error)
}

// Migrating wraps with current and unwraps with any. With it the wrapping key can be
// replaced while everyone stays signed in: instances re-wrap with current what a
// previous key wrapped, after RewrapAfter or in Rewrap, and then the previous key can
// be removed.
func Migrating(current Wrapper, previous ...Wrapper) Wrapper {
	if len(previous) == 0 {
		return current
	}
	return migrating{current, previous}
}

type migrating struct {
	current  Wrapper
	previous []Wrapper
}

func (m migrating) ID() string { return m.current.ID() }

func (m migrating) Status(id string) Status {
	if m.current.Status(id) == Current {
		return Current
	}
	if m.holder(id) != nil {
		return Previous
	}
	return Unknown
}

func (m migrating) Wrap(ctx context.Context, key []byte) (string, []byte, error) {
	return m.current.Wrap(ctx, key)
}

func (m migrating) Unwrap(ctx context.Context, id string, wrapped []byte) ([]byte, error) {
	if w := m.holder(id); w != nil {
		return w.Unwrap(ctx, id, wrapped)
	}
	return nil, ErrWrongKey
}

// holder is the wrapper that has the key named id.
func (m migrating) holder(id string) Wrapper {
	if m.current.Status(id) != Unknown {
		return m.current
	}
	for _, p := range m.previous {
		if p.Status(id) != Unknown {
			return p
		}
	}
	return nil
}

// wrap wraps an epoch and unwraps it again before anything relies on it: the right to
// wrap does not imply the right to unwrap, and that an epoch cannot be unwrapped
// would be noticed only at the next cold start.
func wrap(ctx context.Context, w Wrapper, key []byte) (id string, wrapped []byte, err error) {
	if id, wrapped, err = w.Wrap(ctx, key); err != nil {
		return "", nil, fmt.Errorf("keyring: wrap an epoch with %s: %w", w.ID(), err)
	}
	again, err := w.Unwrap(ctx, id, wrapped)
	if err != nil {
		return "", nil, fmt.Errorf("keyring: unwrap what %s has just wrapped: %w", id, err)
	}
	if !bytes.Equal(key, again) {
		return "", nil, fmt.Errorf("keyring: %s does not unwrap what it wraps", id)
	}
	return id, wrapped, nil
}

// unwrap returns an epoch's bytes. Its errors name the key that is needed and
// the setting to put it in.
func unwrap(ctx context.Context, w Wrapper, e *epoch) ([]byte, error) {
	id := e.record.Wrapping
	key, err := w.Unwrap(ctx, id, e.record.Wrapped)
	switch {
	case errors.Is(err, ErrWrongKey) && w.Status(id) == Unknown:
		return nil, fmt.Errorf("keyring: epoch %d was wrapped by %s, and this process has %s: %s; nobody is signed out until then: %w",
			e.sequence(), id, w.ID(), remedy(id), err)
	case err != nil:
		return nil, fmt.Errorf("keyring: unwrap epoch %d with %s: %w", e.sequence(), id, err)
	case len(key) != epochSize || keyID(key) != e.record.KeyID:
		return nil, fmt.Errorf("keyring: row %s/%s was altered: what %s unwrapped is not epoch %s",
			Partition, e.row.Key, id, e.record.KeyID)
	}
	return key, nil
}

func remedy(id string) string {
	if strings.HasPrefix(id, masterKeyPrefix) {
		return "set MASTER_KEY to the key with that fingerprint, or MASTER_KEY_PREVIOUS if MASTER_KEY was changed"
	}
	return "set KEY_VAULT_KEY_URL to that key"
}
