package tenant

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// refusal is an error in Entra's shape (entra-docs: reference-error-codes,
// "Handling error codes in your application").
type refusal struct {
	code     int // AADSTS number
	oauth    string
	text     string
	status   int    // of the token endpoint, if it is not 400 or 401
	suberror string // as MSAL reads it
	subcode  string // error_subcode on a redirect
	claims   string // what a new sign-in must carry
}

// refuse looks a code up in the catalogue and fills in its text.
func refuse(code int, args ...any) *refusal {
	entry, ok := catalogue[code]
	if !ok {
		entry = refusal{oauth: "server_error", text: "Unknown failure."}
	}
	entry.code = code
	if len(args) > 0 {
		entry.text = fmt.Sprintf(entry.text, args...)
	}
	return &entry
}

// as returns a copy with another OAuth error, for codes whose error depends on
// where they arise.
func (f *refusal) as(oauth string) *refusal {
	c := *f
	c.oauth = oauth
	return &c
}

// httpStatus follows RFC 6749 §5.2 where the catalogue says nothing.
func (f *refusal) httpStatus() int {
	if f.oauth == "invalid_client" {
		return http.StatusUnauthorized
	}
	return cmp.Or(f.status, http.StatusBadRequest)
}

// demanding returns a copy that carries a claims challenge.
func (f *refusal) demanding(claims string) *refusal {
	c := *f
	c.claims = claims
	return &c
}

// stamped is a refusal at one moment of one request.
type stamped struct {
	*refusal
	time               time.Time
	trace, correlation string
}

// stamp reuses the caller's client-request-id as the correlation id, as Entra
// does, so that both logs can be joined.
func (t *Tenant) stamp(f *refusal, r *http.Request) stamped {
	correlation := cmp.Or(r.Header.Get("client-request-id"), r.URL.Query().Get("client-request-id"), t.guid())
	s := stamped{f, t.now().UTC(), t.guid(), correlation}
	t.log.InfoContext(r.Context(), "simulated tenant refused", "aadsts", f.code, "error", f.oauth, "correlation_id", correlation)
	return s
}

func (s stamped) timestamp() string { return s.time.Format("2006-01-02 15:04:05Z") }

func (s stamped) description() string {
	return fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
		s.code, s.text, s.trace, s.correlation, s.timestamp())
}

// uri is the error look-up page of the authority.
func (t *Tenant) uri(f *refusal) string { return t.base + "/error?code=" + strconv.Itoa(f.code) }

// writeRefusal answers at the token endpoint.
func (t *Tenant) writeRefusal(w http.ResponseWriter, r *http.Request, f *refusal) {
	s := t.stamp(f, r)
	body := map[string]any{
		"error":             f.oauth,
		"error_description": s.description(),
		"error_codes":       []int{f.code},
		"timestamp":         s.timestamp(),
		"trace_id":          s.trace,
		"correlation_id":    s.correlation,
		"error_uri":         t.uri(f),
	}
	if f.suberror != "" {
		body["suberror"] = f.suberror
	}
	if f.claims != "" {
		body["claims"] = f.claims
	}
	writeJSON(w, f.httpStatus(), body)
}

// query is the same refusal for a redirect URI.
func (t *Tenant) query(s stamped, state string) url.Values {
	q := url.Values{"error": {s.oauth}, "error_description": {s.description()}, "error_uri": {t.uri(s.refusal)}}
	if s.subcode != "" {
		q.Set("error_subcode", s.subcode)
	}
	if s.claims != "" {
		q.Set("claims", s.claims)
	}
	if state != "" {
		q.Set("state", state)
	}
	return q
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client hung up: nothing left to tell it
}
