package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
)

const (
	// answerLifetime is how long the answer to a callback is repeated. It is
	// the life of the code in it.
	answerLifetime = grants.CodeLifetime
	// redeemedTwice is Entra's number for a code that was redeemed before.
	// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
	redeemedTwice = 54005
)

// defaultAnswerWaits are the pauses between looking for the answer that another
// callback is about to give: 5 s in all.
var defaultAnswerWaits = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
	800 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second}

// errInterrupted: a sign-in was claimed and will not be answered any more.
var errInterrupted = newPageError(pages.Interrupted, oauth.InvalidRequest, "This sign-in was interrupted before it was finished.")

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

// unattended reports whether nobody is waiting for the answer to r: a HEAD, as
// scanners of links send it, or a browser that fetches ahead.
func unattended(r *http.Request) bool {
	purpose := r.Header.Get("Sec-Purpose") + r.Header.Get("Purpose") + r.Header.Get("X-Moz")
	return r.Method == http.MethodHead || strings.Contains(strings.ToLower(purpose), "prefetch")
}

// refuseUnattended answers so that nothing is kept: browsers throw a prefetched
// answer away that is not a success, and ask again when it is needed.
func refuseUnattended(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
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

// complete does what is left of a claimed sign-in. It fails only if Entra says
// that somebody else has redeemed its code.
func (s *Server) complete(r *http.Request, t transaction, q url.Values) (answer, error) {
	if f := s.Upstream.FromRedirect(q); f != nil {
		return s.answerEntraFailure(r, t, f), nil
	}
	if q.Get("code") == "" {
		return s.answerError(r, t, oauth.New(oauth.ServerError, "The sign-in returned no result.")), nil
	}
	signIn, err := s.Upstream.Exchange(r.Context(), entra.Callback{
		Code: entra.Code{Value: secret.New(q.Get("code"))}, Verifier: entra.Verifier(t.verifier), Nonce: t.nonce.Reveal(), Scopes: t.page.Scopes})
	if err != nil {
		f := entra.AsFailure(err)
		if f.AADSTS == redeemedTwice {
			return answer{}, f
		}
		return s.answerEntraFailure(r, t, f), nil
	}
	if signIn.Claims == nil {
		return s.answerError(r, t, oauth.New(oauth.ServerError, "The sign-in does not say who signed in.")), nil
	}
	if t.kind != "" {
		return s.answerPageSignIn(r, t, signIn), nil
	}
	return s.answerSignIn(r, t, signIn), nil
}

// answerSignIn makes the grant, unless the user has a claims challenge to meet
// that this sign-in did not carry.
func (s *Server) answerSignIn(r *http.Request, t transaction, signIn entra.SignIn) answer {
	ctx, req := r.Context(), t.request
	subject := grants.SubjectOf(signIn.Claims.TenantID, signIn.Claims.ObjectID)
	parties := req.parties()
	parties.Subject, parties.TenantID = subject, signIn.Claims.TenantID
	if err := s.checkBlocks(r, req, parties); err != nil {
		return s.answerBlocked(r, t, err)
	}
	if t.approver != "" && t.approver != subject {
		s.audit(r.Context(), req, observe.Event{Name: observe.SignInFailed, Reason: "another account"})
		return answer{Ask: true}
	}
	if t.claims.IsZero() {
		claims, err := s.Challenges.read(ctx, subject)
		if err != nil {
			return s.answerError(r, t, err)
		}
		if !claims.IsZero() {
			return s.answerClaimsChallenge(r, t, claims, signIn.Claims.Username)
		}
	}
	code, err := s.Grants.Create(ctx, grants.Authorization{
		ClientID: req.ClientID, RedirectURI: req.RedirectURI, CodeChallenge: req.CodeChallenge, Scopes: req.Scopes,
		Identity: identityOf(signIn.Claims), Upstream: upstreamOf(signIn), ClientName: req.ClientName, Verified: req.Verified, AuthorizationID: req.AuthorizationID,
	})
	if err != nil {
		return s.answerError(r, t, err)
	}
	if !t.claims.IsZero() {
		s.Challenges.remove(ctx, subject)
	}
	a := answer{To: s.redirectURL(req, url.Values{"code": {code.Reveal()}}), Code: code.Reveal()}
	if t.remember {
		a.approvedBy = signIn.Claims
	}
	if t.remember || t.approver != "" {
		a.Cookie = s.approverCookie(ctx, signIn.Claims)
	}
	return a
}

// answerBlocked is a sign-in that a block has refused, or that could not be
// compared with the blocks. The person is told first.
func (s *Server) answerBlocked(r *http.Request, t transaction, err error) answer {
	var a answer
	if oauth.ErrorCode(err) == oauth.AccessDenied {
		a = s.answerRefused(r, t, err) // audited with the block
	} else {
		a = s.answerError(r, t, err)
	}
	a.Failure = failurePageFor(err)
	a.Failure.After = returnAfter
	return a
}

// answerError is a sign-in that ends with err, which goes to the client at once;
// without a client, a page says it.
func (s *Server) answerError(r *http.Request, t transaction, err error) answer {
	s.audit(r.Context(), t.request, observe.Event{Name: observe.SignInFailed, Reason: reasonOf(err), Target: t.kind})
	return s.answerRefused(r, t, err)
}

// answerRefused is answerError without the audit event.
func (s *Server) answerRefused(r *http.Request, t transaction, err error) answer {
	s.logRefused(r, t.request.ClientID, err)
	if t.kind != "" {
		return answer{To: s.Issuer + t.page.Back, Failure: failurePageFor(err)}
	}
	return answer{To: s.errorURL(t.request, err)}
}

// reasonOf is why a sign-in failed.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*entra.Failure](err); ok {
		return f.AuditReason()
	}
	return string(oauth.ErrorCode(err))
}

// answerEntraFailure is a sign-in that failed at Entra. The client always gets its
// redirect. What the person can do something about, or has to ask for, is said
// on a page first, because many clients show nothing of an error_description.
// What the person just decided, and what passes by itself, goes to the client
// at once.
func (s *Server) answerEntraFailure(r *http.Request, t transaction, f *entra.Failure) answer {
	a := s.answerError(r, t, f.AtCallback())
	if page := failurePageAtEntra(f); page != nil {
		a.Failure = page
	} else if a.Failure != nil {
		a.Failure.Summary, a.Failure.NextStep = f.Summary, f.NextStep
	}
	return a
}

// writeAnswer takes the browser on. Its binding cookie lives as long as the
// answer can be repeated.
func (s *Server) writeAnswer(w http.ResponseWriter, r *http.Request, t transaction, a answer) {
	s.shortenBinding(w, r, t.state)
	if a.Cookie != "" {
		w.Header().Add("Set-Cookie", a.Cookie)
	}
	if a.Next != "" {
		next, err := parseState(a.Next, s.Now())
		if err == nil {
			err = s.bind(w, r, next)
		}
		if err != nil {
			s.redirectError(w, r, t.request, err)
			return
		}
	}
	if a.Ask {
		s.askInFull(w, r, t.request)
		return
	}
	if a.Failure != nil {
		s.writeFailurePage(w, r, t, *a.Failure, a.To)
		return
	}
	s.redirect(w, r, t.request, a.To)
}

// askInFull shows the consent page to whoever has signed in in the place of the
// user whose approval was remembered.
func (s *Server) askInFull(w http.ResponseWriter, r *http.Request, req request) {
	client, err := s.registered(r.Context(), req)
	if err != nil {
		s.writeErrorPage(w, r, req.ClientID, err)
		return
	}
	f := s.newConsentForm(req, s.ensureBrowser(w, r))
	f.OtherAccount = true
	s.audit(r.Context(), req, observe.Event{Name: observe.ConsentShown})
	s.askConsent(w, r, f, client)
}

// repeatAnswer answers a callback whose transaction another one has claimed:
// with the answer of that one, which may take a moment.
func (s *Server) repeatAnswer(w http.ResponseWriter, r *http.Request, t transaction) {
	t, err := s.awaitAnswer(r.Context(), t)
	if err == nil {
		err = s.repeatable(r.Context(), *t.answer)
	}
	if err != nil {
		s.writeErrorPage(w, r, t.request.ClientID, err)
		return
	}
	s.writeAnswer(w, r, t, *t.answer)
}

// awaitAnswer reads t again until it is answered.
func (s *Server) awaitAnswer(ctx context.Context, t transaction) (transaction, error) {
	for _, wait := range s.answerWaits {
		if t.answer != nil {
			return t, nil
		}
		if !t.claimed.IsZero() && s.Now().Sub(t.claimed) > s.Timeout+clockSkew {
			break // whoever claimed it would have been cut off by now
		}
		select {
		case <-ctx.Done():
			return t, storageUnavailable(ctx.Err())
		case <-time.After(wait):
		}
		found, err := s.readTransaction(ctx, t.state)
		if err != nil {
			return t, err
		}
		t = found
	}
	if t.answer == nil {
		return t, errInterrupted
	}
	return t, nil
}

// repeatable refuses an answer that is too old or has been used.
func (s *Server) repeatable(ctx context.Context, a answer) error {
	if s.Now().Sub(a.At) >= answerLifetime {
		return errNoTransaction
	}
	if a.Code == "" {
		return nil
	}
	unused, err := s.Grants.Unredeemed(ctx, grants.Code{Value: secret.New(a.Code)})
	if err == nil && !unused {
		err = errNoTransaction
	}
	return err
}
