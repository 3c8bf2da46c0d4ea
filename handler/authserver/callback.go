package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// redeemedTwice is Entra's number for a code that was redeemed before.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
const redeemedTwice = 54005

// callback finishes a sign-in: the state and this browser's cookies agree, the
// transaction is claimed before Entra is asked, Entra's ID token is verified,
// and only then is there a grant. Browsers deliver a callback more than once
// (reload, double navigation, a first request that was cut off): the same
// browser gets the same answer, as long as nobody has used it.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	if unattended(r) {
		refuseUnattended(w, r)
		return
	}
	p, err := readQuery(r)
	if err == nil {
		err = p.unambiguous()
	}
	if err != nil {
		s.writeErrorPage(w, r, "", err)
		return
	}
	if fromAdminConsent(p.Values) {
		s.adminConsent(w, r, p.Values)
		return
	}
	t, err := s.transactionOf(r, p.Get("state"))
	if err != nil {
		s.writeErrorPage(w, r, "", err)
		return
	}
	claimed := t
	if t.claim == "" {
		claimed, err = s.claimTransaction(r.Context(), t)
	} else {
		err = errClaimed
	}
	switch {
	case errors.Is(err, errClaimed):
		s.repeatAnswer(w, r, t)
		return
	case err != nil:
		s.writeRetryPage(w, r, t, err)
		return
	}
	// From here on the sign-in can no longer be repeated: it is finished even if
	// the browser does not wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	a, err := s.complete(r, claimed, p.Values)
	if err != nil {
		s.repeatAnswer(w, r, claimed)
		return
	}
	a.At = s.Now().UTC()
	s.answerTransaction(ctx, claimed, a)
	s.writeAnswer(w, r, claimed, a)
	if a.approvedBy != nil {
		_ = http.NewResponseController(w).Flush() // the browser does not wait
		s.keepApproval(ctx, *a.approvedBy, claimed.request)
	}
}

// unattended reports whether r is a HEAD request, as link scanners send it, or a
// prefetch of a browser: nobody sees the answer.
func unattended(r *http.Request) bool {
	purpose := r.Header.Get("Sec-Purpose") + r.Header.Get("Purpose") + r.Header.Get("X-Moz")
	return r.Method == http.MethodHead || strings.Contains(strings.ToLower(purpose), "prefetch")
}

// refuseUnattended answers so that nothing is cached: browsers discard a prefetched
// answer that is not a success, and request it again when it is needed.
func refuseUnattended(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// transactionOf is the transaction of a state that was started in r's browser.
func (s *Server) transactionOf(r *http.Request, raw string) (transaction, error) {
	state, err := parseState(raw, s.Now())
	if err != nil {
		return transaction{}, err
	}
	if err := s.bound(r.Context(), r, state); err != nil {
		return transaction{}, err
	}
	t, err := s.readTransaction(r.Context(), state)
	if err != nil {
		return transaction{}, err
	}
	if t.browser != "" && !s.browser(r).matches(t.browser) {
		return transaction{}, errNotBound
	}
	return t, nil
}

// complete finishes a claimed sign-in. It fails only if Entra answers that the code
// was redeemed before.
func (s *Server) complete(r *http.Request, t transaction, q url.Values) (answer, error) {
	if e := s.Upstream.FromRedirect(q); e != nil {
		return s.answerEntraError(r, t, e), nil
	}
	if q.Get("code") == "" {
		return s.answerError(r, t, oauth.New(oauth.ServerError, "The sign-in returned no result.")), nil
	}
	signIn, err := s.Upstream.Exchange(r.Context(), entra.Callback{
		Code: entra.Code{Value: secret.New(q.Get("code"))}, Verifier: entra.Verifier(t.verifier), Nonce: t.nonce.Reveal(), Scopes: t.page.Scopes})
	if err != nil {
		e := entra.AsError(err)
		if e.AADSTS == redeemedTwice {
			return answer{}, e
		}
		return s.answerEntraError(r, t, e), nil
	}
	if t.kind != "" {
		return s.answerPageSignIn(r, t, signIn), nil
	}
	return s.answerSignIn(r, t, signIn), nil
}
