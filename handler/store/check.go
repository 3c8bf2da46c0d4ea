package store

import (
	"fmt"
	"time"
)

// Check reports whether a row is within the limits that all stores share.
func (r Row) Check() error {
	if err := CheckKey(r.Partition, r.Key); err != nil {
		return err
	}
	if len(r.Value) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes, at most %d", ErrInvalid, len(r.Value), MaxValue)
	}
	if !r.Expires.IsZero() && !r.Expires.Equal(r.Expires.Truncate(time.Second)) {
		return fmt.Errorf("%w: Expires has a fraction of a second", ErrInvalid)
	}
	return nil
}

// CheckKey reports whether partition and key are within the shared limits.
func CheckKey(partition, key string) error {
	for _, s := range [...]string{partition, key} {
		if s == "" || len(s) > MaxKey {
			return fmt.Errorf("%w: key of %d bytes, want 1 to %d", ErrInvalid, len(s), MaxKey)
		}
		for i := range len(s) {
			if !keyByte(s[i]) {
				return fmt.Errorf("%w: byte %q in a key", ErrInvalid, s[i])
			}
		}
	}
	return nil
}

func keyByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '_' || c == '.' || c == '~'
}
