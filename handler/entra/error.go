package entra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"entramcp/handler/oauth"
)

// Kind says what an Error means for the sign-in or the grant.
type Kind string

// The kinds. EndsGrant tells which of them end a grant.
const (
	Declined          Kind = "declined"           // the user said no
	SignInOver        Kind = "sign_in_over"       // the code, session or refresh token is used up
	ConsentNeeded     Kind = "consent_needed"     // ConsentURL is where an administrator consents
	InteractionNeeded Kind = "interaction_needed" // the user signs in again, with Claims
	NotAllowed        Kind = "not_allowed"        // this user may not use this server
	PolicyBlocked     Kind = "policy_blocked"     // Conditional Access blocks the server's own address
	Misconfigured     Kind = "misconfigured"      // the operator has something to fix
	Unavailable       Kind = "unavailable"        // no answer, or none that can be trusted
)

// Error is an error of Entra's, or the lack of a usable answer, in words for
// people. Summary, NextStep and ConsentURL may be shown to the user; Error() and
// LogValue are for the log.
type Error struct {
	// AADSTS is Entra's own number, or 0.
	AADSTS int
	// OAuth is the error for the MCP client when this ends an authorization
	// (RFC 6749 §4.1.2.1).
	OAuth oauth.Code
	Kind  Kind
	// Summary says what happened, NextStep what the user or the administrator
	// does about it. Both are full sentences.
	Summary, NextStep string
	// ConsentURL is set with ConsentNeeded, and AdminOnly if users cannot consent
	// themselves.
	ConsentURL string
	AdminOnly  bool
	// CorrelationID and TraceID find the event in Entra's sign-in logs.
	CorrelationID, TraceID string
	// Claims is a claims challenge to pass to the next AuthorizeURL.
	Claims string
	// RetryAfter is set with Unavailable.
	RetryAfter time.Duration

	code            string // Entra's OAuth error
	refused         bool   // Entra certainly did not do what was asked
	retryAfterNamed bool   // RetryAfter is Entra's
	cause           error
}

// Error is for the log: it holds Entra's own text, which may name the user.
func (e *Error) Error() string {
	s := "entra: " + string(e.Kind)
	if e.code != "" {
		s += ": " + e.code
	}
	if e.AADSTS != 0 {
		s += fmt.Sprintf(" AADSTS%d", e.AADSTS)
	}
	if e.CorrelationID != "" {
		s += " (correlation " + e.CorrelationID + ")"
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns what Entra or the network said.
func (e *Error) Unwrap() error { return e.cause }

// LogValue is what an operator needs to find the event in Entra.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", string(e.Kind)), slog.String("error", e.code)}
	if e.AADSTS != 0 {
		attrs = append(attrs, slog.Int("aadsts", e.AADSTS))
	}
	attrs = append(attrs, slog.String("correlation_id", e.CorrelationID), slog.String("trace_id", e.TraceID))
	if e.cause != nil {
		attrs = append(attrs, slog.String("cause", e.cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

// Description is the short text for error_description: what happened, what
// comes next and, for administrators, Entra's number.
func (e *Error) Description() string {
	s := e.Summary + " " + e.NextStep
	if e.AADSTS != 0 {
		s += " (AADSTS" + strconv.Itoa(e.AADSTS) + ")"
	}
	return s
}

// AuditReason is Entra's number, which says more than the error code, or the error
// code if there is no number.
func (e *Error) AuditReason() string {
	if e.AADSTS != 0 {
		return "AADSTS" + strconv.Itoa(e.AADSTS)
	}
	return string(e.OAuth)
}

// EndsGrant reports whether a renewal that fails with e ends the grant. What the
// operator has to fix, and what may be over in a minute, does not: the user's sign-in
// is still valid.
func (e *Error) EndsGrant() bool { return e.Kind != Misconfigured && e.Kind != Unavailable }

// AtCallback is the error for the MCP client that waits for an authorization
// response.
func (e *Error) AtCallback() *oauth.Error {
	response := oauth.New(e.OAuth, e.Description()).Because(e)
	response.RetryAfter = e.RetryAfter
	return response
}

// AtToken is the error for the MCP client that refreshes its tokens: invalid_grant if
// the grant has ended, else 503.
func (e *Error) AtToken() *oauth.Error {
	if e.EndsGrant() {
		return oauth.New(oauth.InvalidGrant, e.Description()).Because(e)
	}
	retry := e.RetryAfter
	if retry <= 0 {
		retry = defaultRetry
	}
	return oauth.Unavailable(e.Description(), retry, e)
}

// defaultRetry is the Retry-After when Entra names none.
const defaultRetry = 5 * time.Second

// unreachable is the Error for an answer that did not come or made no sense.
func unreachable(what string, cause error) *Error {
	return &Error{
		OAuth: oauth.TemporarilyUnavailable, Kind: Unavailable, RetryAfter: defaultRetry,
		Summary:  "Microsoft Entra ID did not give a usable answer.",
		NextStep: "Try again in a minute.",
		cause:    fmt.Errorf("%s: %w", what, cause),
	}
}

// AsError returns the *Error in err's chain, or one of kind Unavailable that wraps
// err: an error without an explanation must not end a sign-in.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return unreachable("time ran out", err)
	}
	return unreachable("unexpected", err)
}

// errorResponse is an error as Entra sends it, to the callback or from the token
// endpoint (RFC 6749 §4.1.2.1 and §5.2).
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-response-1
type errorResponse struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Suberror      string `json:"suberror"`
	CorrelationID string `json:"correlation_id"`
	TraceID       string `json:"trace_id"`
	Claims        string `json:"claims"`
}

var (
	aadstsPattern      = regexp.MustCompile(`\bAADSTS(\d{5,8})\b`)
	correlationPattern = regexp.MustCompile(`Correlation ID: ([0-9A-Fa-f-]{36})`)
	tracePattern       = regexp.MustCompile(`Trace ID: ([0-9A-Fa-f-]{36})`)
)

// explain is the Error that a means. Entra asks clients not to depend on its
// numbers, so they refine what the OAuth error already decides, and an unknown
// number changes nothing.
func (a errorResponse) explain() *Error {
	codes := a.Codes
	for _, m := range aadstsPattern.FindAllStringSubmatch(a.Description, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && !slices.Contains(codes, n) {
			codes = append(slices.Clone(codes), n)
		}
	}
	meaning, number := generic(a.Error, a.Suberror), 0
	if len(codes) > 0 {
		number = codes[0]
	}
	// If there are several, the later one says more: "AADSTS70002: Error validating
	// credentials. AADSTS70000: The provided grant is invalid".
	for _, n := range slices.Backward(codes) {
		if known, ok := explanations[n]; ok {
			meaning, number = known, n
			break
		}
	}
	e := &Error{
		AADSTS: number, OAuth: meaning.OAuth, Kind: meaning.Kind, Summary: meaning.Summary, NextStep: meaning.NextStep,
		CorrelationID: a.CorrelationID, TraceID: a.TraceID, Claims: challenge(a.Claims), AdminOnly: slices.Contains(adminOnly, number),
		code: a.Error, cause: errors.New(a.Description),
	}
	if e.Claims != "" && e.Kind != Misconfigured && e.Kind != Unavailable {
		e.Kind = InteractionNeeded
	}
	e.CorrelationID = cmp.Or(e.CorrelationID, firstGroup(correlationPattern, a.Description))
	e.TraceID = cmp.Or(e.TraceID, firstGroup(tracePattern, a.Description))
	if e.Kind == Unavailable {
		e.RetryAfter = defaultRetry
	}
	return e
}

// adminOnly are the numbers for consent that users cannot give themselves.
var adminOnly = []int{90093, 90094, 90095, 90099}

// maxClaims bounds a claims challenge, in bytes. It travels in a URL.
const maxClaims = 4096

// challenge is the claims challenge in text, which must be a JSON object, or empty.
// https://learn.microsoft.com/entra/identity-platform/claims-challenge
func challenge(text string) string {
	var object map[string]json.RawMessage
	if len(text) > maxClaims || json.Unmarshal([]byte(text), &object) != nil {
		return ""
	}
	return text
}

func firstGroup(p *regexp.Regexp, s string) string {
	if m := p.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// maxSaid is how many characters of each parameter of the callback are used: Entra's
// texts are shorter, and anyone can make a link whose parameters would fill the log.
const maxSaid = 2000

// FromRedirect explains the error that Entra put on the callback, or returns
// nil if there is none. The consent link is added by (*Client).FromRedirect.
func FromRedirect(query url.Values) *Error {
	if !query.Has("error") {
		return nil
	}
	said := func(name string) string { return fmt.Sprintf("%.*s", maxSaid, query.Get(name)) }
	return errorResponse{
		Error: said("error"), Description: said("error_description"),
		Suberror: said("error_subcode"), Claims: query.Get("claims"),
	}.explain()
}
