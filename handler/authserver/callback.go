package authserver

import (
	"net/http"
	"net/url"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
)

// How many seconds a failure can be read before the browser goes back to the
// client by itself; the way back is also a link. To pass on the link for an
// administrator takes longer.
const (
	returnAfter        = 20
	returnAfterConsent = 120
)

// callback finishes a sign-in: the state and this browser's cookie agree, the
// transaction is consumed before anything else happens, Entra's ID token is
// verified, and only then is there a grant.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err == nil {
		err = once(q)
	}
	if err != nil {
		s.fail(w, r, "", err)
		return
	}
	if fromAdminConsent(q) {
		s.adminConsent(w, r, q)
		return
	}
	state, err := parseState(q.Get("state"), s.Now())
	if err == nil {
		err = s.bound(r.Context(), r, state)
	}
	if err != nil {
		s.fail(w, r, "", err)
		return
	}
	t, err := s.consume(r.Context(), state)
	if err != nil {
		s.fail(w, r, "", err)
		return
	}
	s.unbind(w, state)
	if failure := s.Upstream.FromRedirect(q); failure != nil {
		s.explain(w, r, t.Request, failure)
		return
	}
	if q.Get("code") == "" {
		s.refuse(w, r, t.Request, oauth.New(oauth.ServerError, "The sign-in brought no result."))
		return
	}
	signIn, err := s.Upstream.Exchange(r.Context(), entra.Callback{Code: q.Get("code"), Verifier: t.Verifier, Nonce: t.Nonce})
	if err != nil {
		s.explain(w, r, t.Request, entra.AsFailure(err))
		return
	}
	if signIn.Claims == nil {
		s.refuse(w, r, t.Request, oauth.New(oauth.ServerError, "The sign-in does not say who signed in."))
		return
	}
	s.finish(w, r, t, signIn)
}

// finish makes the grant and takes its code to the client, unless the user has
// a claims challenge to meet that this sign-in did not carry.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, t transaction, signIn entra.SignIn) {
	req, subject := t.Request, grants.SubjectOf(signIn.Claims.TenantID, signIn.Claims.ObjectID)
	if t.Claims == "" {
		claims, err := s.pending(r.Context(), subject)
		if err != nil {
			s.refuse(w, r, req, err)
			return
		}
		if claims != "" {
			s.again(w, r, t, claims, signIn.Claims.Username)
			return
		}
	}
	code, err := s.Grants.Create(r.Context(), grants.Approval{
		ClientID: req.ClientID, RedirectURI: req.RedirectURI, Challenge: req.Challenge, Scopes: req.Scopes,
		Identity: identityOf(signIn.Claims), Upstream: upstreamOf(signIn),
	})
	if err != nil {
		s.refuse(w, r, req, err)
		return
	}
	if t.Claims != "" {
		s.forget(r.Context(), subject)
	}
	s.redirect(w, r, req, s.response(req, url.Values{"code": {code.Reveal()}}))
}

// explain ends a sign-in that failed at Entra. The client always gets its
// redirect. What the person can do something about, or has to ask for, is said
// on a page first, because many clients show nothing of an error_description;
// that page goes on to the client by a link and after returnAfter. What the
// person just decided, and what passes by itself, goes to the client at once.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, req request, f *entra.Failure) {
	refusal := f.AtCallback()
	status, after := http.StatusForbidden, returnAfter
	switch f.Kind {
	case entra.NotAllowed:
	case entra.ConsentNeeded:
		after = returnAfterConsent
	case entra.Misconfigured:
		status = http.StatusInternalServerError
	default:
		s.refuse(w, r, req, refusal)
		return
	}
	s.logRefusal(r, req.ClientID, refusal)
	pages.Render(w, r, status, pages.Failure{
		Title: titleOf(f.Kind), Summary: f.Summary, NextStep: f.NextStep, ConsentURL: f.ConsentURL,
		CorrelationID: s.CorrelationID(r.Context()),
		Client:        req.ClientName, ReturnTo: s.refusal(req, refusal), ReturnAfter: after,
	})
}

func titleOf(kind entra.Kind) string {
	switch kind {
	case entra.ConsentNeeded:
		return "An administrator has to approve this first"
	case entra.NotAllowed:
		return "You cannot sign in here"
	}
	return "This server is not set up correctly"
}

func identityOf(c *entra.Claims) grants.Identity {
	return grants.Identity{TenantID: c.TenantID, ObjectID: c.ObjectID, Name: c.Name, Username: c.Username, Roles: c.Roles}
}

func upstreamOf(signIn entra.SignIn) grants.Upstream {
	return grants.Upstream{
		RefreshToken: grants.EntraRefreshToken{Value: secret.New(signIn.RefreshToken)},
		APIToken:     grants.EntraAccessToken{Value: secret.New(signIn.AccessToken)}, APITokenExpires: signIn.AccessTokenExpires,
	}
}
