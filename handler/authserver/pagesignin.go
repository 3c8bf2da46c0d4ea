package authserver

import (
	"context"
	"net/http"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// PageSignIn finishes a sign-in that begins on a page of this server and ends
// there, unlike a client's authorization. It is called once for a sign-in whose
// ID token was verified. data is what BeginPageSignIn was given. An error is
// shown on a page: it is an *oauth.Error or taken as a fault.
type PageSignIn func(ctx context.Context, signIn entra.SignIn, data []byte) (PageSignInEnd, error)

// HandlePageSignIn has finish end the sign-ins of a kind. All of them use one
// callback; the kind is sealed into the transaction, so that none finishes
// another's. It must not be called once the server serves.
func (s *Server) HandlePageSignIn(kind string, finish PageSignIn) { s.pageSignIns[kind] = finish }

// PageSignInEnd is where a finished PageSignIn leads.
type PageSignInEnd struct {
	// To is a path of this server, with its query.
	To string
	// Cookie, if not nil, is set together with the redirect.
	Cookie *http.Cookie
}

// PageSignInRequest is what a PageSignIn asks for.
type PageSignInRequest struct {
	// Data is given to the PageSignIn. It is sealed with the transaction.
	Data []byte `json:"data,omitempty"`
	// Back is the path of this server that an error page leads back to.
	Back string `json:"back,omitempty"`
	// LoginHint preselects an account; Prompt is that of entra.AuthorizeRequest.
	LoginHint string `json:"login_hint,omitempty"`
	Prompt    string `json:"prompt,omitempty"`
	// Scopes are asked for instead of the usual ones, to consent to another
	// API.
	Scopes []string `json:"scopes,omitempty"`
}

// BeginPageSignIn starts a sign-in of a kind of HandlePageSignIn, in answer to a form
// that CheckForm has accepted: it stores the transaction, binds the browser and
// shows the page that leads to Entra. A link alone starts nothing, so r is a
// POST.
func (s *Server) BeginPageSignIn(w http.ResponseWriter, r *http.Request, kind string, p PageSignInRequest) {
	browser := s.browser(r)
	if r.Method != http.MethodPost || s.pageSignIns[kind] == nil || browser.IsZero() {
		s.writeErrorPage(w, r, "", newPageError(pages.UnreadableForm, oauth.InvalidRequest, "A sign-in of this kind begins with a form of this server."))
		return
	}
	if wait := s.startLimit.Take(observe.ClientKey(r.Context())); wait > 0 {
		s.writeErrorPage(w, r, "", tooMany("Too many sign-ins have been started.", wait))
		return
	}
	t := newTransaction(newState(s.Now().Add(consentLifetime)), request{}, browser.hash())
	t.kind, t.page, t.loginHint = kind, p, p.LoginHint
	to, err := s.startAtEntra(r.Context(), t)
	if err == nil {
		err = s.bind(w, r, t.state)
	}
	if err != nil {
		page := s.errorPageFor(r, err)
		page.ReturnTo = s.Issuer + p.Back
		s.writeErrorPageAs(w, r, "", err, page)
		return
	}
	s.continueAtEntra(w, request{}, to)
}

// answerPageSignIn lets the PageSignIn of t finish, unless the user or the tenant is
// blocked.
func (s *Server) answerPageSignIn(r *http.Request, t transaction, signIn entra.SignIn) answer {
	finish := s.pageSignIns[t.kind]
	if finish == nil {
		return s.answerError(r, t, oauth.New(oauth.ServerError, "This instance does not know this kind of sign-in."))
	}
	parties := grants.Parties{Subject: grants.SubjectOf(signIn.Claims.TenantID, signIn.Claims.ObjectID), TenantID: signIn.Claims.TenantID}
	if err := s.checkBlocks(r, request{}, parties); err != nil {
		return s.answerBlocked(r, t, err)
	}
	end, err := finish(r.Context(), signIn, t.page.Data)
	if err != nil {
		return s.answerError(r, t, err)
	}
	a := answer{To: s.Issuer + end.To}
	if end.Cookie != nil {
		a.Cookie = end.Cookie.String()
	}
	return a
}

// Refuse shows the page that says why a form or a link of this server is not taken.
func (s *Server) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.writeErrorPage(w, r, "", err)
}
