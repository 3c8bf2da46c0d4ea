package store

import (
	"errors"
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
	// The years of Edm.DateTime; a zero Expires means never.
	if y := r.Expires.UTC().Year(); !r.Expires.IsZero() && (y < 1601 || y > 9999) {
		return fmt.Errorf("%w: Expires in the year %d", ErrInvalid, y)
	}
	return nil
}

// CheckETag reports whether etag can be a precondition. "*" cannot: to Azure
// it means any version, which would make a conditional write unconditional.
func CheckETag(etag ETag) error {
	if etag == "" || etag == "*" {
		return fmt.Errorf("%w: ETag %q cannot be a precondition", ErrInvalid, string(etag))
	}
	return nil
}

// Check reports whether the bounds of the span are keys, and in order.
func (s Span) Check() error {
	if err := CheckKey(s.Last, s.Last); err != nil {
		return fmt.Errorf("last partition of a span: %w", err)
	}
	if s.FirstKey != "" {
		if s.First != s.Last {
			return fmt.Errorf("%w: FirstKey in a span of several partitions", ErrInvalid)
		}
		return CheckKey(s.Last, s.FirstKey)
	}
	if s.First == "" {
		return nil
	}
	if err := CheckKey(s.First, s.First); err != nil {
		return fmt.Errorf("first partition of a span: %w", err)
	}
	if s.First > s.Last {
		return fmt.Errorf("%w: span from %q to %q", ErrInvalid, s.First, s.Last)
	}
	return nil
}

// CheckDrop reports whether rows are within the limits of Drop.
func CheckDrop(rows []Row) error {
	if len(rows) > MaxDrop {
		return fmt.Errorf("%w: %d rows to drop, at most %d", ErrInvalid, len(rows), MaxDrop)
	}
	for _, row := range rows {
		if err := errors.Join(CheckKey(row.Partition, row.Key), CheckETag(row.ETag)); err != nil {
			return err
		}
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
