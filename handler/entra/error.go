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

// Kind says what a Failure means for the sign-in or the grant.
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

// Failure is an error of Entra's in words for people. Summary, NextStep and
// ConsentURL may be shown to the user; Error and LogValue are for the log.
type Failure struct {
	// AADSTS is Entra's own number, or 0.
	AADSTS int
	// OAuth is the error for the MCP client when this ends an authorization
	// (RFC 6749 §4.1.2.1).
	OAuth oauth.Code
	Kind  Kind
	// Summary says what happened, NextStep what the user or the administrator
	// does about it. Both are full sentences.
	Summary, NextStep string
	// ConsentURL is set with ConsentNeeded, AdminOnly if users cannot give the
	// consent themselves.
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
func (f *Failure) Error() string {
	s := "entra: " + string(f.Kind)
	if f.code != "" {
		s += ": " + f.code
	}
	if f.AADSTS != 0 {
		s += fmt.Sprintf(" AADSTS%d", f.AADSTS)
	}
	if f.CorrelationID != "" {
		s += " (correlation " + f.CorrelationID + ")"
	}
	if f.cause != nil {
		s += ": " + f.cause.Error()
	}
	return s
}

// Unwrap returns what Entra or the network said.
func (f *Failure) Unwrap() error { return f.cause }

// LogValue is what an operator needs to find the event in Entra.
func (f *Failure) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", string(f.Kind)), slog.String("error", f.code)}
	if f.AADSTS != 0 {
		attrs = append(attrs, slog.Int("aadsts", f.AADSTS))
	}
	attrs = append(attrs, slog.String("correlation_id", f.CorrelationID), slog.String("trace_id", f.TraceID))
	if f.cause != nil {
		attrs = append(attrs, slog.String("cause", f.cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

// Description is the short text for error_description: what happened, what
// comes next and, for administrators, Entra's number.
func (f *Failure) Description() string {
	s := f.Summary + " " + f.NextStep
	if f.AADSTS != 0 {
		s += " (AADSTS" + strconv.Itoa(f.AADSTS) + ")"
	}
	return s
}

// AuditReason is Entra's number, which says more than the error code, or the error
// code if there is no number.
func (f *Failure) AuditReason() string {
	if f.AADSTS != 0 {
		return "AADSTS" + strconv.Itoa(f.AADSTS)
	}
	return string(f.OAuth)
}

// EndsGrant reports whether a failed renewal is final for the grant. What the
// operator has to fix, and what may be over in a minute, is not: the user's
// sign-in is as good as before.
func (f *Failure) EndsGrant() bool { return f.Kind != Misconfigured && f.Kind != Unavailable }

// AtCallback is the error for the MCP client that waits for an authorization
// response.
func (f *Failure) AtCallback() *oauth.Error {
	e := oauth.New(f.OAuth, f.Description()).Because(f)
	e.RetryAfter = f.RetryAfter
	return e
}

// AtToken is the error for the MCP client that renews its tokens: invalid_grant
// if the grant has ended, else 503.
func (f *Failure) AtToken() *oauth.Error {
	if f.EndsGrant() {
		return oauth.New(oauth.InvalidGrant, f.Description()).Because(f)
	}
	retry := f.RetryAfter
	if retry <= 0 {
		retry = defaultRetry
	}
	return oauth.Unavailable(f.Description(), retry, f)
}

// defaultRetry is the Retry-After when Entra names none.
const defaultRetry = 5 * time.Second

// unreachable is the Failure for an answer that did not come or made no sense.
func unreachable(what string, cause error) *Failure {
	return &Failure{
		OAuth: oauth.TemporarilyUnavailable, Kind: Unavailable, RetryAfter: defaultRetry,
		Summary:  "Microsoft Entra ID did not give a usable answer.",
		NextStep: "Try again in a minute.",
		cause:    fmt.Errorf("%s: %w", what, cause),
	}
}

// AsFailure returns the *Failure in err's chain, or one of kind Unavailable
// that wraps err: an unexplained outcome is not a reason to end a sign-in.
func AsFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return unreachable("time ran out", err)
	}
	return unreachable("unexpected", err)
}

// answer is an error as Entra words it, on the callback or at the token
// endpoint.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-response-1
type answer struct {
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

// failure explains a. Entra asks clients not to depend on its numbers, so they
// refine what the OAuth error already decides, and an unknown number changes
// nothing.
func (a answer) failure() *Failure {
	codes := a.Codes
	for _, m := range aadstsPattern.FindAllStringSubmatch(a.Description, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && !slices.Contains(codes, n) {
			codes = append(slices.Clone(codes), n)
		}
	}
	e, number := generic(a.Error, a.Suberror), 0
	if len(codes) > 0 {
		number = codes[0]
	}
	// Where there are several, the later one says more: "AADSTS70002: Error
	// validating credentials. AADSTS70000: The provided grant is invalid".
	for _, n := range slices.Backward(codes) {
		if known, ok := explanations[n]; ok {
			e, number = known, n
			break
		}
	}
	f := &Failure{
		AADSTS: number, OAuth: e.OAuth, Kind: e.Kind, Summary: e.Summary, NextStep: e.NextStep,
		CorrelationID: a.CorrelationID, TraceID: a.TraceID, Claims: challenge(a.Claims), AdminOnly: slices.Contains(adminOnly, number),
		code: a.Error, cause: errors.New(a.Description),
	}
	if f.Claims != "" && f.Kind != Misconfigured && f.Kind != Unavailable {
		f.Kind = InteractionNeeded
	}
	f.CorrelationID = cmp.Or(f.CorrelationID, firstGroup(correlationPattern, a.Description))
	f.TraceID = cmp.Or(f.TraceID, firstGroup(tracePattern, a.Description))
	if f.Kind == Unavailable {
		f.RetryAfter = defaultRetry
	}
	return f
}

// adminOnly are the numbers for consent that users cannot give themselves.
var adminOnly = []int{90093, 90094, 90095, 90099}

// maxClaims bounds a claims challenge, in bytes. It travels in a URL.
const maxClaims = 4096

// challenge is the claims challenge in text, or empty if there is none that a
// sign-in could carry: it must be a JSON object.
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

// maxSaid bounds what is taken of each parameter of the callback, in
// characters: Entra's texts are shorter, and anyone can write a link to it that
// would fill the log.
const maxSaid = 2000

// FromRedirect explains the error that Entra put on the callback, or returns
// nil if there is none. The consent link is added by (*Client).FromRedirect.
func FromRedirect(query url.Values) *Failure {
	if !query.Has("error") {
		return nil
	}
	said := func(name string) string { return fmt.Sprintf("%.*s", maxSaid, query.Get(name)) }
	return answer{
		Error: said("error"), Description: said("error_description"),
		Suberror: said("error_subcode"), Claims: query.Get("claims"),
	}.failure()
}
