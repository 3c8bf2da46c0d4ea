package grants

import "log/slog"

// What clients hold. string(x) is the text; everything that prints, logs or
// encodes shows a placeholder.
type (
	// Code is an authorization code (RFC 6749 §4.1.2).
	Code string
	// RefreshToken is a refresh token (RFC 6749 §1.5).
	RefreshToken string
	// AccessToken is a JWT access token (RFC 9068).
	AccessToken string
)

const redacted = "[redacted]"

func (Code) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Code) String() string               { return redacted }
func (Code) GoString() string             { return redacted }
func (Code) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (RefreshToken) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (RefreshToken) String() string               { return redacted }
func (RefreshToken) GoString() string             { return redacted }
func (RefreshToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (AccessToken) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (AccessToken) String() string               { return redacted }
func (AccessToken) GoString() string             { return redacted }
func (AccessToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }
