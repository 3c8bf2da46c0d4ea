package authserver

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// answer is how a sign-in ended, for the browser.
type answer struct {
	At time.Time `json:"at"`
	// To is where the browser goes: to the client, or to Entra again. Code is
	// the authorization code in it.
	To   string `json:"to"`
	Code string `json:"code,omitempty"`
	// Next is the state of the transaction that To continues with at Entra.
	Next string `json:"next,omitempty"`
	// Failed, if set, is shown on an error page first.
	Failed *failedSignIn `json:"failure,omitempty"`
	// Ask is set if the consent page is to be shown in full, because somebody else
	// has signed in than has approved before.
	Ask bool `json:"ask,omitempty"`
	// Cookie is set for the browser, in the form of a Set-Cookie header.
	Cookie string `json:"cookie,omitempty"`

	// approvedBy is whose approval is to be remembered now, if any.
	approvedBy *entra.Claims
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
	a.Failed = failedWith(err)
	a.Failed.After = returnAfter
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
		return answer{To: s.Issuer + t.page.Back, Failed: failedWith(err)}
	}
	return answer{To: s.errorURL(t.request, err)}
}

// reasonOf is why a sign-in failed.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*entra.Error](err); ok {
		return e.AuditReason()
	}
	return string(oauth.ErrorCode(err))
}

// answerEntraError is a sign-in that ends with an error of Entra's. The client
// always gets its redirect. What the person can do something about, or has to ask
// for, is shown on a page first, because many clients show nothing of an
// error_description. What the person just decided, and what passes by itself,
// goes to the client at once.
func (s *Server) answerEntraError(r *http.Request, t transaction, e *entra.Error) answer {
	a := s.answerError(r, t, e.AtCallback())
	if page := failedAtEntra(e); page != nil {
		a.Failed = page
	} else if a.Failed != nil {
		a.Failed.Summary, a.Failed.NextStep = e.Summary, e.NextStep
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
	if a.Failed != nil {
		s.writeFailedSignIn(w, r, t, *a.Failed, a.To)
		return
	}
	s.redirect(w, r, t.request, a.To)
}

// askInFull shows the consent page to somebody who has signed in instead of the
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
