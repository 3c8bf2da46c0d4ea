// Package secret holds text that must never reach a log, an error or a page.
//
// Each kind of secret is a Go type of its own that embeds Value, so that one
// cannot be passed where another is meant:
//
//	type RefreshToken struct{ secret.Value }
//
//	t := RefreshToken{secret.New(text)}
//	t.Reveal()
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every formatter and encoder writes instead of a secret.
const Redacted = "[redacted]"

// Value is secret text. The zero value is the empty text. Values are compared
// with Equal: == does not compile.
type Value struct {
	_ [0]func()
	// text is a pointer because fmt cannot call methods on unexported fields of
	// a struct that is printed: it then prints an address.
	text *string
}

// New makes a Value of text.
func New(text string) Value { return Value{text: &text} }

// Reveal returns the text itself, for sending, sealing or hashing it.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsZero reports whether the text is empty.
func (v Value) IsZero() bool { return v.Reveal() == "" }

// Equal compares in time that depends on the lengths only.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(w.Reveal())) == 1
}

// String hides the text.
func (Value) String() string { return Redacted }

// Format hides the text from every verb of fmt.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue hides the text from slog.
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText hides the text from encoders such as encoding/json. Whoever
// stores a secret reveals it to be sealed.
func (Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
