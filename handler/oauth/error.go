// Package oauth holds the vocabulary that the authorization server and the
// resource server share: protocol errors, scopes, resource indicators, and
// which hosts are this computer.
package oauth

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// Code is an error code of RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1,
// RFC 7591 §3.2.2 or RFC 8707 §2.
type Code string

// The error codes this server answers with.
const (
	InvalidRequest          Code = "invalid_request"
	InvalidClient           Code = "invalid_client"
	InvalidGrant            Code = "invalid_grant"
	UnauthorizedClient      Code = "unauthorized_client"
	UnsupportedGrantType    Code = "unsupported_grant_type"
	UnsupportedResponseType Code = "unsupported_response_type"
	InvalidScope            Code = "invalid_scope"
	InvalidTarget           Code = "invalid_target"
	AccessDenied            Code = "access_denied"
	RequestNotSupported     Code = "request_not_supported"
	RequestURINotSupported  Code = "request_uri_not_supported"
	InvalidRedirectURI      Code = "invalid_redirect_uri"
	InvalidClientMetadata   Code = "invalid_client_metadata"
	InvalidToken            Code = "invalid_token"
	InsufficientScope       Code = "insufficient_scope"
	ServerError             Code = "server_error"
	TemporarilyUnavailable  Code = "temporarily_unavailable"
	SlowDown                Code = "slow_down"

	// NoCredentials is not a code of the protocol: a request without any
	// credentials is answered with 401 and no error code (RFC 6750 §3.1).
	NoCredentials Code = ""
)

// Error is a refusal in the protocol's own terms. Code and Description go to
// the client; the cause goes to the log only.
type Error struct {
	Code        Code
	Description string
	// RetryAfter, if positive, is sent as Retry-After in whole seconds.
	RetryAfter time.Duration
	cause      error
}

// New makes an error that has no other cause.
func New(code Code, description string) *Error {
	return &Error{Code: code, Description: description}
}

// Because returns a copy of e that carries cause for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Unavailable says that something this server depends on did not answer. The
// client may repeat the same request: nothing was consumed.
func Unavailable(description string, retryAfter time.Duration, cause error) *Error {
	return &Error{Code: TemporarilyUnavailable, Description: description, RetryAfter: retryAfter, cause: cause}
}

// Error is for the log: it includes the cause.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Description
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// AsError returns the *Error in err's chain, or a server_error caused by err.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(ServerError, "The server could not complete the request.").Because(err)
}

// ErrorCode is the code that err is answered with: that of the *Error in its
// chain, else server_error.
func ErrorCode(err error) Code { return AsError(err).Code }

// Status is the HTTP status of the error when it is answered directly.
func (e *Error) Status() int {
	switch e.Code {
	case InvalidClient, InvalidToken, NoCredentials:
		return http.StatusUnauthorized
	case InsufficientScope, AccessDenied:
		return http.StatusForbidden
	case ServerError:
		return http.StatusInternalServerError
	case TemporarilyUnavailable:
		return http.StatusServiceUnavailable
	case SlowDown:
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// maxDescription bounds an error_description, in bytes. Clients show it on one
// screen, and it travels in redirect URIs.
const maxDescription = 400

var asciiPunctuation = strings.NewReplacer("’", "'", "‘", "'", "“", "'", "”", "'", `"`, "'", "–", "-", "—", "-", "…", "...", "§", "section ")

// Describe makes text fit for an error_description (RFC 6749 §4.1.2.1, §5.2;
// RFC 6750 §3): printable ASCII without quotation mark and backslash, at most
// 400 bytes. Typographic characters become ASCII, others are left out. Every
// description that is sent to a client passes through it.
func Describe(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '\\' {
			return -1
		}
		return r
	}, asciiPunctuation.Replace(text))
	if len(text) > maxDescription {
		text = text[:maxDescription-3] + "..."
	}
	return text
}
