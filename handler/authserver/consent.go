package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"entramcp/handler/entra"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// consent takes the user's answer. Only an approval writes anything, binds the
// browser and goes on to Entra, in this order.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	approved, f, err := s.answer(w, r)
	if err != nil {
		s.fail(w, r, f.Request.ClientID, err)
		return
	}
	req := f.Request
	if err := s.stillRegistered(r.Context(), req); err != nil {
		s.fail(w, r, req.ClientID, err)
		return
	}
	if !approved {
		s.refuse(w, r, req, oauth.New(oauth.AccessDenied, "The user did not approve the app."))
		return
	}
	if s.approvals.Take(observe.ClientKey(r.Context())) > 0 {
		s.fail(w, r, req.ClientID, oauth.New(oauth.SlowDown, "Too many sign-ins have been started from your address."))
		return
	}
	to, state, err := s.begin(r.Context(), transaction{Request: req})
	if err == nil {
		err = s.bind(w, r, state)
	}
	if err != nil {
		s.refuse(w, r, req, err)
		return
	}
	s.goOn(w, r, req, to)
}

// goOn sends the browser to Entra.
func (s *Server) goOn(w http.ResponseWriter, r *http.Request, req request, to string) {
	page := pages.Continue{To: to, Client: req.ClientName, Simulated: s.Simulated}
	if u, err := url.Parse(to); err == nil {
		page.Host = u.Host
	}
	pages.Render(w, r, http.StatusOK, page)
}

// answer reads the submitted form. Three things must agree that it was sent by
// our page in this browser: where the browser says the request comes from, the
// seal of the form, and the cookie the form was sealed for.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (approved bool, f consentForm, err error) {
	if err := s.sameOrigin(r); err != nil {
		return false, f, err
	}
	values, err := form(w, r)
	if err == nil {
		err = once(values)
	}
	if err != nil {
		return false, f, err
	}
	if f, err = s.openConsent(r.Context(), values.Get("request")); err != nil {
		return false, f, err
	}
	if !s.knownBrowser(r).matches(f.Browser) {
		return false, f, oauth.New(oauth.InvalidRequest, "This page was opened in another browser, or the browser did not send its cookie.")
	}
	if !s.Now().Before(f.Expires) {
		return false, f, oauth.New(oauth.InvalidRequest, "The page has been open for too long.")
	}
	switch values.Get("decision") {
	case "approve":
		return true, f, nil
	case "cancel":
		return false, f, nil
	}
	return false, f, oauth.New(oauth.InvalidRequest, "The form holds no decision.")
}

// sameOrigin refuses forms that another site submits. Browsers too old for
// Sec-Fetch-Site are held by Origin, and by the cookie that they do not send
// with another site's form. Origin is null where the page's Referrer-Policy is
// no-referrer, as ours is (Fetch, "append a request Origin header").
func (s *Server) sameOrigin(r *http.Request) error {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	fromHere := site == "" || site == "same-origin" || site == "none"
	if !fromHere || (origin != "" && origin != "null" && origin != s.Issuer) {
		return oauth.New(oauth.AccessDenied, "The form was sent by another site.")
	}
	return nil
}

func (s *Server) openConsent(ctx context.Context, sealed string) (f consentForm, err error) {
	plain, err := s.Ring.Open(ctx, keyring.ConsentForm, nil, sealed)
	if errors.Is(err, keyring.ErrNotOurs) {
		return f, oauth.New(oauth.InvalidRequest, "The form was not made by this server.")
	}
	if err != nil {
		return f, keysUnavailable(err)
	}
	if err := json.Unmarshal(plain, &f); err != nil {
		return f, oauth.New(oauth.ServerError, "The form cannot be read.").Because(err)
	}
	return f, nil
}

// stillRegistered asks again whether the client is known and may be answered
// where it wants to be: both may have changed while the page was open.
func (s *Server) stillRegistered(ctx context.Context, req request) error {
	client, err := s.Clients.Lookup(ctx, req.ClientID)
	if err != nil {
		return err
	}
	if !client.Allows(req.RedirectURI) {
		return oauth.New(oauth.InvalidRedirectURI, "The app is no longer registered for the address it asked to be answered at.")
	}
	return nil
}

// begin records t and returns where the browser signs in.
func (s *Server) begin(ctx context.Context, t transaction) (to string, state upstreamState, err error) {
	if state, err = s.newTransaction(&t); err != nil {
		return "", "", err
	}
	to, err = s.Upstream.AuthorizeURL(ctx, entra.AuthorizeRequest{
		State: string(state), Nonce: t.Nonce, Challenge: challengeOf(t.Verifier), Claims: t.Claims, LoginHint: t.LoginHint,
	})
	if err != nil {
		return "", "", entra.AsFailure(err).AtCallback()
	}
	return to, state, s.record(ctx, state, t)
}
