package authserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
)

// response is the URL that takes params to the client: the redirect URI, whose
// own query stays as it is (RFC 6749 §3.1.2), with state as it came and with
// our iss (RFC 9207 §2).
func (s *Server) response(req request, params url.Values) string {
	if req.State != nil {
		params.Set("state", *req.State)
	}
	params.Set("iss", s.Issuer)
	separator := "?"
	if strings.Contains(req.RedirectURI, "?") {
		separator = "&"
	}
	return req.RedirectURI + separator + params.Encode()
}

// refusal is the URL that takes err to the client.
func (s *Server) refusal(req request, err error) string {
	e := oauth.AsError(err)
	return s.response(req, url.Values{"error": {string(e.Code)}, "error_description": {describable(e.Description)}})
}

// describable keeps to the characters of error_description (RFC 6749
// §4.1.2.1): typographic ones become ASCII, others are left out.
func describable(text string) string {
	text = strings.NewReplacer("’", "'", "‘", "'", "“", "'", "”", "'", `"`, "'", "–", "-", "—", "-", "…", "...").Replace(text)
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '\\' {
			return -1
		}
		return r
	}, text)
}

// redirect takes the browser to the client: by a page in answer to a form, and
// to an app with its own scheme; see pages.Done.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, req request, to string) {
	app := !strings.HasPrefix(to, "https://") && !strings.HasPrefix(to, "http://")
	if app || r.Method == http.MethodPost {
		pages.Render(w, r, http.StatusOK, pages.Done{Client: req.ClientName, To: to, App: app})
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", to)
	// 303 makes a GET of it whatever the method was (RFC 9700 §4.12).
	w.WriteHeader(http.StatusSeeOther)
}

// refuse takes err to the client and its cause to the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, req request, err error) {
	s.logRefusal(r, req.ClientID, err)
	s.redirect(w, r, req, s.refusal(req, err))
}

// refuseUnasked is refuse before the person has agreed to anything. A client is
// whatever a stranger registered, so a link to this server that cannot succeed
// would be a link to any web site under our name: there the person decides
// (RFC 9700 §4.11.2).
func (s *Server) refuseUnasked(w http.ResponseWriter, r *http.Request, req request, client clients.Client, err error) {
	if client.MayRedirectUnasked(req.RedirectURI) {
		s.refuse(w, r, req, err)
		return
	}
	s.logRefusal(r, req.ClientID, err)
	e := oauth.AsError(err)
	pages.Render(w, r, e.Status(), pages.Failure{
		Title:   "This sign-in cannot go on",
		Summary: e.Description,
		NextStep: "Connect again from your app. The button leads to " + pages.TargetOf(req.RedirectURI).Where +
			": use it only if that is where you came from.",
		CorrelationID: s.CorrelationID(r.Context()),
		Client:        req.ClientName, ReturnTo: s.refusal(req, err),
	})
}

// fail shows err to the person at the browser and takes nobody anywhere.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, clientID string, err error) {
	s.logRefusal(r, clientID, err)
	e := oauth.AsError(err)
	page := pages.Failure{
		Title:         "This sign-in cannot go on",
		Summary:       e.Description,
		NextStep:      "Go back to your app and connect again.",
		CorrelationID: s.CorrelationID(r.Context()),
	}
	status := http.StatusBadRequest
	switch e.Code {
	case oauth.InvalidClient:
		page.Title = "This app is not known here"
		page.Summary = strings.TrimSuffix(e.Description, " Register again.") // which is for the app
		page.NextStep = "Remove this server from your app and add it again, so that the app registers anew."
	case oauth.InvalidRedirectURI:
		page.NextStep = "Do not go on if you did not start this yourself. Otherwise remove this server from your app and add it again."
	case oauth.AccessDenied:
		status = http.StatusForbidden
	case oauth.TemporarilyUnavailable:
		page.Title, page.NextStep, status = "Not available right now", "Wait a minute and connect again from your app.", http.StatusServiceUnavailable
	case oauth.SlowDown:
		page.Title, page.NextStep, status = "Not available right now", "Wait a minute and connect again from your app.", http.StatusTooManyRequests
	case oauth.ServerError:
		page.Title, status = "Something went wrong", http.StatusInternalServerError
	}
	pages.Render(w, r, status, page)
}

// maxLogged bounds what of a client_id goes to the log, in characters. It is the
// text of whoever wrote the link; those in use are shorter.
const maxLogged = 200

func (s *Server) logRefusal(r *http.Request, clientID string, err error) {
	e := oauth.AsError(err)
	level := slog.LevelInfo
	if e.Code == oauth.ServerError || e.Code == oauth.TemporarilyUnavailable {
		level = slog.LevelError
	}
	s.Log.LogAttrs(r.Context(), level, "sign-in refused", slog.String("path", r.URL.Path), slog.String("client_id", fmt.Sprintf("%.*s", maxLogged, clientID)),
		slog.String("error", string(e.Code)), slog.String("description", e.Description), slog.Any("cause", errors.Unwrap(e)))
}

// consentPage is the question to the user about req.
func (s *Server) consentPage(req request, client clients.Client, sealed string) pages.Consent {
	return pages.Consent{
		Action: consentPath, Form: sealed, Server: s.host,
		Client: client.Name, VerifiedHost: client.VerifiedHost,
		Target: pages.TargetOf(req.RedirectURI),
		Scopes: pages.Permissions(req.Scopes, s.ScopeWords),
		Tenant: s.Tenant, Simulated: s.Simulated,
	}
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
