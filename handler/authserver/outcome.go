package authserver

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// A request of a browser ends in one of these: redirect and redirectError take
// the browser to the client; writeErrorPage shows an error and takes nobody
// anywhere; writeFailedSignIn shows how a transaction failed, with a link back, and
// writeRetryPage that the same callback can be tried again; redirectErrorUnasked
// redirects, or shows a page with the redirect as a link. A request of a client
// ends in JSON: writeJSONError.

// redirectURL is the URL that takes values to the client: the redirect URI,
// whose own query stays as it is (RFC 6749 §3.1.2), with state as it came and
// with our iss (RFC 9207 §2).
func (s *Server) redirectURL(req request, values url.Values) string {
	if req.State != "" {
		values.Set("state", req.State)
	}
	values.Set("iss", s.Issuer)
	separator := "?"
	if strings.Contains(req.RedirectURI, "?") {
		separator = "&"
	}
	return req.RedirectURI + separator + values.Encode()
}

// errorURL is the URL that takes err to the client.
func (s *Server) errorURL(req request, err error) string {
	e := oauth.AsError(err)
	return s.redirectURL(req, url.Values{"error": {string(e.Code)}, "error_description": {oauth.Describe(e.Description)}})
}

// redirect takes the browser to the client: by a page in answer to a form, and
// to an app with its own scheme; see pages.Done.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, req request, to string) {
	if !isWebURL(to) || r.Method == http.MethodPost {
		s.Pages.Render(w, http.StatusOK, pages.Done{Client: req.ClientName, To: to, App: !isWebURL(to)})
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", to)
	// 303 makes a GET of it whatever the method was (RFC 9700 §4.12).
	w.WriteHeader(http.StatusSeeOther)
}

// isWebURL reports whether a browser opens the URL itself, and not another app.
func isWebURL(to string) bool { return hasScheme(to, "https") || hasScheme(to, "http") }

func hasScheme(uri, scheme string) bool { return strings.HasPrefix(uri, scheme+"://") }

// redirectError takes err to the client and its cause to the log.
func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, req request, err error) {
	s.logRefused(r, req.ClientID, err)
	s.redirect(w, r, req, s.errorURL(req, err))
}

// redirectErrorUnasked is redirectError before the user has agreed to anything.
// Anybody can register a client, so an authorization request that fails would
// redirect to any web site or app (an open redirector): a page lets the user decide
// instead (RFC 9700 §4.11.2).
func (s *Server) redirectErrorUnasked(w http.ResponseWriter, r *http.Request, req request, client clients.Client, err error) {
	if isWebURL(req.RedirectURI) && client.MayRedirectUnasked(req.RedirectURI) {
		s.redirectError(w, r, req, err)
		return
	}
	page := s.errorPageFor(r, err)
	page.Client, page.ReturnTo, page.Where = req.ClientName, s.errorURL(req, err), pages.TargetOf(req.RedirectURI).Where
	s.writeErrorPageAs(w, r, req.ClientID, err, page)
}

// pageError is an error with a problem for the page, which is more specific than its
// code.
type pageError struct {
	problem pages.Problem
	err     *oauth.Error
}

func newPageError(problem pages.Problem, code oauth.Code, description string) error {
	return &pageError{problem, oauth.New(code, description)}
}

func (e *pageError) Error() string { return e.err.Error() }
func (e *pageError) Unwrap() error { return e.err }

// problemOf is why err stops a sign-in, as far as a person can tell.
func problemOf(err error) pages.Problem {
	if p, ok := errors.AsType[*pageError](err); ok {
		return p.problem
	}
	switch oauth.ErrorCode(err) {
	case oauth.InvalidClient:
		return pages.UnknownApp
	case oauth.InvalidRedirectURI:
		return pages.UnregisteredAddress
	case oauth.TemporarilyUnavailable:
		return pages.NotAvailable
	case oauth.SlowDown:
		return pages.TooMany
	case oauth.ServerError:
		return pages.Fault
	}
	return pages.RejectedRequest
}

// newErrorPage is a page with words for people, and without a link back.
func (s *Server) newErrorPage(r *http.Request, words pages.Words) pages.ErrorPage {
	return pages.NewErrorPage(words, observe.CorrelationID(r.Context()), s.Now())
}

// errorPageFor is the page for err, without a link back.
func (s *Server) errorPageFor(r *http.Request, err error) pages.ErrorPage {
	e := oauth.AsError(err)
	page := s.newErrorPage(r, pages.WordsFor(problemOf(err)))
	page.Technical = string(e.Code) + ": " + oauth.Describe(e.Description)
	return page
}

// writeErrorPage shows err to the person at the browser and takes nobody anywhere.
func (s *Server) writeErrorPage(w http.ResponseWriter, r *http.Request, clientID string, err error) {
	s.writeErrorPageAs(w, r, clientID, err, s.errorPageFor(r, err))
}

func (s *Server) writeErrorPageAs(w http.ResponseWriter, r *http.Request, clientID string, err error, page pages.ErrorPage) {
	s.logRefused(r, clientID, err)
	oauth.SetRetryAfter(w.Header(), oauth.AsError(err).RetryAfter)
	s.Pages.Render(w, pageStatus(err), page)
}

// pageStatus is the status of a page about err. It is never 401, which is for clients
// that can authenticate.
func pageStatus(err error) int {
	if status := oauth.AsError(err).Status(); status != http.StatusUnauthorized {
		return status
	}
	return http.StatusBadRequest
}

// failedSignIn is what the error page of a transaction says. It is stored with
// the answer, so that a repeated callback shows the same.
type failedSignIn struct {
	Status     int    `json:"status"`
	Title      string `json:"title"`
	Summary    string `json:"summary"`
	NextStep   string `json:"next_step"`
	ConsentURL string `json:"consent_url,omitempty"`
	// After is in how many seconds the browser goes back to the client by
	// itself.
	After int `json:"after"`
}

// How many seconds an error page can be read before the browser goes back to the
// client by itself; a link leads back at once. Passing on the link for an
// administrator takes longer.
const (
	returnAfter        = 20
	returnAfterConsent = 120
)

// failedAtEntra is for an error of Entra's that the person can do something about;
// nil for all others.
func failedAtEntra(e *entra.Error) *failedSignIn {
	problem, status, after := pages.NotAllowedThere, http.StatusForbidden, returnAfter
	switch e.Kind {
	case entra.NotAllowed:
	case entra.PolicyBlocked:
		problem = pages.AdminPolicy
	case entra.ConsentNeeded:
		problem, after = pages.AdminConsent, returnAfterConsent
	case entra.Misconfigured:
		problem, status = pages.Misconfigured, http.StatusInternalServerError
	default:
		return nil
	}
	return &failedSignIn{Status: status, Title: pages.WordsFor(problem).Title, Summary: e.Summary, NextStep: e.NextStep, ConsentURL: e.ConsentURL, After: after}
}

// failedWith is for any other error.
func failedWith(err error) *failedSignIn {
	words := pages.WordsFor(problemOf(err))
	return &failedSignIn{Status: pageStatus(err), Title: words.Title, Summary: words.Summary, NextStep: words.NextStep}
}

// writeFailedSignIn shows how t failed, with a link back to the client.
func (s *Server) writeFailedSignIn(w http.ResponseWriter, r *http.Request, t transaction, f failedSignIn, to string) {
	page := s.newErrorPage(r, pages.Words{Title: f.Title, Summary: f.Summary, NextStep: f.NextStep})
	page.ConsentURL = f.ConsentURL
	s.withReturn(&page, t, to, f.After)
	s.Pages.Render(w, f.Status, page)
}

// writeRetryPage is shown if the same callback can be tried again. If the user does
// not, the client gets the error.
func (s *Server) writeRetryPage(w http.ResponseWriter, r *http.Request, t transaction, err error) {
	page := s.newErrorPage(r, pages.WordsFor(pages.TryReload))
	to := s.Issuer + t.page.Back
	if t.kind == "" {
		to = s.errorURL(t.request, err)
	}
	s.withReturn(&page, t, to, returnAfter)
	s.writeErrorPageAs(w, r, t.request.ClientID, err, page)
}

// withReturn adds the link back, which the browser follows by itself only to a
// client, and only if that opens no app.
func (s *Server) withReturn(page *pages.ErrorPage, t transaction, to string, after int) {
	page.Client, page.ReturnTo = t.request.ClientName, to
	if t.kind == "" && isWebURL(to) {
		page.ReturnAfter = after
	}
	page.OwnPage = t.kind != ""
}

// writeJSONError answers a client with err. A client that came with Basic is told to
// come with Basic (RFC 6749 §5.2); no other is, because browsers would ask the
// user for a password.
func (s *Server) writeJSONError(w http.ResponseWriter, r *http.Request, err error) {
	if oauth.ErrorCode(err) == oauth.InvalidClient && clients.UsedBasic(r.Header) {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+s.Issuer+`"`)
	}
	w.Header().Set("Pragma", "no-cache")
	oauth.WriteError(w, r, s.Log, err)
}

// redirectDenied tells the client that the person did not approve.
func (s *Server) redirectDenied(w http.ResponseWriter, r *http.Request, req request) {
	err := oauth.New(oauth.AccessDenied, "The user did not approve the app.")
	s.logRefused(r, req.ClientID, err)
	to := s.errorURL(req, err)
	s.Pages.Render(w, http.StatusOK, pages.Done{Client: req.ClientName, To: to, App: !isWebURL(to), Denied: true})
}

// maxLogged is how much of a client_id is logged, in bytes. Anybody can write it into
// a link; those in use are shorter.
const maxLogged = 200

func (s *Server) logRefused(r *http.Request, clientID string, err error) {
	e := oauth.AsError(err)
	s.Log.LogAttrs(r.Context(), oauth.LogLevel(r, e), "sign-in refused", slog.String("path", r.URL.Path), slog.String("client_id", excerpt(clientID, maxLogged)),
		slog.String("error", string(e.Code)), slog.String("description", oauth.Describe(e.Description)), slog.Any("cause", errors.Unwrap(e)))
}

// retryAfter is well inside the lives of a consent page and of a transaction, so
// that what is repeated still finds them.
const retryAfter = 5 * time.Second

func keysUnavailable(cause error) error {
	return oauth.Unavailable("The server cannot reach its keys. Try again in a minute.", retryAfter, cause)
}

func storageUnavailable(cause error) error {
	return oauth.Unavailable("The server cannot reach its storage. Try again in a minute.", retryAfter, cause)
}

func tooMany(description string, wait time.Duration) error {
	refusal := oauth.New(oauth.SlowDown, description)
	refusal.RetryAfter = wait
	return refusal
}
