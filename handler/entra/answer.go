package entra

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
)

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
		CorrelationID: a.CorrelationID, TraceID: a.TraceID, Claims: a.Claims,
		code: a.Error, cause: errors.New(a.Description),
	}
	if a.Claims != "" && f.Kind != Misconfigured && f.Kind != Unavailable {
		f.Kind = InteractionNeeded
	}
	if f.CorrelationID == "" {
		f.CorrelationID = firstGroup(correlationPattern, a.Description)
	}
	if f.TraceID == "" {
		f.TraceID = firstGroup(tracePattern, a.Description)
	}
	if f.Kind == Unavailable {
		f.RetryAfter = defaultRetry
	}
	return f
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

// FromRedirect is the function of that name, with the link by which an
// administrator consents where that is what is missing.
func (c *Client) FromRedirect(query url.Values) *Failure {
	f := FromRedirect(query)
	if f != nil {
		c.link(f, c.scopes)
	}
	return f
}

func (c *Client) link(f *Failure, scopes []string) {
	if f.Kind == ConsentNeeded {
		f.ConsentURL = consentURL(c.cfg, scopes)
	}
}
