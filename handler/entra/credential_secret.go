package entra

import (
	"context"
	"log/slog"
	"net/url"
)

// secretCredential is a client secret, sent in the body (RFC 6749 §2.3.1) as
// Entra documents it.
type secretCredential Secret

func (s secretCredential) authenticate(_ context.Context, form url.Values, _ string) error {
	form.Set("client_secret", string(s))
	return nil
}

func (secretCredential) setting() string { return "ENTRA_CLIENT_SECRET" }

func (secretCredential) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secretCredential) String() string               { return redacted }
func (secretCredential) GoString() string             { return redacted }
func (secretCredential) MarshalText() ([]byte, error) { return []byte(redacted), nil }
