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
// the browser to the client, errorPage takes nobody anywhere, and
// redirectErrorUnasked and failurePage are pages with a way to the client. A
// request of a client ends in JSON: jsonError.

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
		pages.Render(w, r, http.StatusOK, pages.Done{Client: req.ClientName, To: to, App: !isWebURL(to)})
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", to)
	// 303 makes a GET of it whatever the method was (RFC 9700 §4.12).
	w.WriteHeader(http.StatusSeeOther)
}

// isWebURL tells what a browser opens itself from what opens an app beside it.
func isWebURL(to string) bool {
	return strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "http://")
}

// redirectError takes err to the client and its cause to the log.
func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, req request, err error) {
	s.logRefused(r, req.ClientID, err)
	s.redirect(w, r, req, s.errorURL(req, err))
}

// redirectErrorUnasked is redirectError before the person has agreed to
// anything. A client is whatever a stranger registered, so a link to this server
// that cannot succeed would be a link to any web site under our name, or into
// any app: there the person decides (RFC 9700 §4.11.2).
func (s *Server) redirectErrorUnasked(w http.ResponseWriter, r *http.Request, req request, client clients.Client, err error) {
	if isWebURL(req.RedirectURI) && client.MayRedirectUnasked(req.RedirectURI) {
		s.redirectError(w, r, req, err)
		return
	}
	s.logRefused(r, req.ClientID, err)
	e := oauth.AsError(err)
	oauth.SetRetryAfter(w.Header(), e.RetryAfter)
	pages.Render(w, r, e.Status(), pages.Failure{
		Title:   "This sign-in cannot go on",
		Summary: e.Description,
		NextStep: "Connect again from your app. The button leads to " + pages.TargetOf(req.RedirectURI).Where +
			": use it only if that is where you came from.",
		CorrelationID: observe.CorrelationID(r.Context()),
		Client:        req.ClientName, ReturnTo: s.errorURL(req, err),
	})
}

// failure is a page that says what went wrong and then goes on to the client.
type failure struct {
	Status     int           `json:"status"`
	Title      string        `json:"title"`
	Summary    string        `json:"summary"`
	NextStep   string        `json:"next_step"`
	ConsentURL string        `json:"consent_url,omitempty"`
	To         string        `json:"-"`
	After      int           `json:"after"` // seconds
	RetryAfter time.Duration `json:"-"`
}

// How many seconds a failure can be read before the browser goes back to the
// client by itself; the way back is also a link. To pass on the link for an
// administrator takes longer.
const (
	returnAfter        = 20
	returnAfterConsent = 120
)

// failureAtEntra is the page for a failure at Entra that the person can do
// something about; said is false for all others.
func failureAtEntra(f *entra.Failure) (page failure, said bool) {
	page = failure{Status: http.StatusForbidden, Summary: f.Summary, NextStep: f.NextStep, ConsentURL: f.ConsentURL, After: returnAfter}
	switch f.Kind {
	case entra.NotAllowed:
		page.Title = "You cannot sign in here"
	case entra.PolicyBlocked:
		page.Title = "An administrator has to act"
	case entra.ConsentNeeded:
		page.Title, page.After = "An administrator has to approve this first", returnAfterConsent
	case entra.Misconfigured:
		page.Title, page.Status = "This server is not set up correctly", http.StatusInternalServerError
	default:
		return failure{}, false
	}
	return page, true
}

// failureOf is the page for an outage of ours after which the same callback can
// be tried again.
func (s *Server) failureOf(req request, err error) failure {
	e := oauth.AsError(err)
	return failure{
		Status: e.Status(), Title: "Not available right now", Summary: e.Description,
		NextStep: "Load this page again in a few seconds. Otherwise your app is told that it did not work, and you connect again.",
		To:       s.errorURL(req, err), After: returnAfter, RetryAfter: e.RetryAfter,
	}
}

// failurePage shows f, with a link to the client that the browser follows by
// itself after a while.
func (s *Server) failurePage(w http.ResponseWriter, r *http.Request, req request, f failure) {
	oauth.SetRetryAfter(w.Header(), f.RetryAfter)
	page := pages.Failure{
		Title: f.Title, Summary: f.Summary, NextStep: f.NextStep, ConsentURL: f.ConsentURL,
		CorrelationID: observe.CorrelationID(r.Context()),
		Client:        req.ClientName, ReturnTo: f.To,
	}
	if isWebURL(f.To) {
		page.ReturnAfter = f.After
	}
	pages.Render(w, r, f.Status, page)
}

// errorPage shows err to the person at the browser and takes nobody anywhere.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, clientID string, err error) {
	s.logRefused(r, clientID, err)
	e := oauth.AsError(err)
	page := pages.Failure{
		Title:         "This sign-in cannot go on",
		Summary:       e.Description,
		NextStep:      "Go back to your app and connect again.",
		CorrelationID: observe.CorrelationID(r.Context()),
	}
	status, wait := http.StatusBadRequest, e.RetryAfter
	switch e.Code {
	case oauth.InvalidClient:
		page.Title = "This app is not known here"
		page.Summary = strings.TrimSuffix(e.Description, " Register again.") // which is for the app
		page.NextStep = "Remove this server from your app and add it again, so that the app registers again."
	case oauth.InvalidRedirectURI:
		page.NextStep = "Do not go on if you did not start this yourself. Otherwise remove this server from your app and add it again."
	case oauth.AccessDenied:
		status = http.StatusForbidden
	case oauth.TemporarilyUnavailable:
		page.Title, page.NextStep, status = "Not available right now", "Wait a minute and connect again from your app.", http.StatusServiceUnavailable
		wait = max(wait, time.Second)
	case oauth.SlowDown:
		page.Title, page.NextStep, status = "Not available right now", "Wait a minute and connect again from your app.", http.StatusTooManyRequests
		wait = max(wait, time.Second)
	case oauth.ServerError:
		page.Title, status = "Something went wrong", http.StatusInternalServerError
	}
	oauth.SetRetryAfter(w.Header(), wait)
	pages.Render(w, r, status, page)
}

// jsonError answers a client with err. A client that came with Basic is told to
// come with Basic (RFC 6749 §5.2); no other is, because browsers would ask the
// user for a password.
func (s *Server) jsonError(w http.ResponseWriter, r *http.Request, err error) {
	if oauth.ErrorCode(err) == oauth.InvalidClient && clients.UsedBasic(r.Header) {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+s.Issuer+`"`)
	}
	w.Header().Set("Pragma", "no-cache")
	oauth.WriteError(w, r, s.Log, err)
}

// maxLogged bounds what of a client_id goes to the log, in bytes. It is the text
// of whoever wrote the link; those in use are shorter.
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
