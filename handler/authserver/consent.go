package authserver

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

const (
	// consentLifetime is how long a consent page can be approved.
	consentLifetime = 10 * time.Minute
	// consentDelay is the time after a page was shown in which no person can have
	// decided. The page's button waits as long, in CSS; this is for submissions without
	// the button.
	consentDelay = 700 * time.Millisecond
)

// What the buttons of the consent page send.
const (
	decideApprove = "approve"
	decideCancel  = "cancel"
	decideInFull  = "full" // the remembered approval is another account's
)

// consentForm is what the consent page carries, sealed, from /authorize to
// /consent. It belongs to the browser whose CSRF cookie has this hash.
type consentForm struct {
	Request request   `json:"request"`
	Expires time.Time `json:"expires"`
	Browser string    `json:"browser"`
	// Shown is when the page was made. It and State are not set in forms of
	// the version before.
	Shown time.Time `json:"shown,omitzero"`
	// State is that of the transaction that this form starts: a form that is sent again
	// starts no other one.
	State string `json:"state,omitempty"`
	// Approver is the user who approved the same before; nil if the full page is shown.
	Approver *approver `json:"approver,omitempty"`
	// OtherAccount is set if a different user signed in.
	OtherAccount bool `json:"other_account,omitempty"`
}

func (s *Server) newConsentForm(req request, browser browserID) consentForm {
	now := s.Now()
	expires := now.Add(consentLifetime)
	return consentForm{Request: req, Expires: expires, Browser: browser.hash(), Shown: now, State: newState(expires).Reveal()}
}

// hasty reports whether f was sent sooner than a person can decide. An instance whose
// clock is behind cannot tell.
func (f consentForm) hasty(now time.Time) bool {
	elapsed := now.Sub(f.Shown)
	return !f.Shown.IsZero() && elapsed >= 0 && elapsed < consentDelay
}

// consent takes the user's decision. Only an approval writes anything, binds the
// browser and continues to Entra, in this order.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	decision, f, err := s.readDecision(w, r)
	if err != nil {
		s.writeErrorPage(w, r, f.Request.ClientID, err)
		return
	}
	req := f.Request
	client, err := s.registered(r.Context(), req)
	if err == nil {
		err = s.checkBlocks(r, req, req.parties())
	}
	if err != nil {
		s.writeErrorPage(w, r, req.ClientID, err)
		return
	}
	if decision == decideInFull {
		f.Approver, f.Shown = nil, s.Now()
		s.askConsent(w, r, f, client)
		return
	}
	if decision == decideCancel {
		s.audit(r.Context(), req, observe.Event{Name: observe.ConsentRefused})
		s.redirectDenied(w, r, req)
		return
	}
	if f.hasty(s.Now()) {
		f.Shown = s.Now()
		s.askConsent(w, r, f, client)
		return
	}
	if wait := s.startLimit.Take(observe.ClientKey(r.Context())); wait > 0 {
		s.writeErrorPage(w, r, req.ClientID, tooMany("Too many sign-ins have been started.", wait))
		return
	}
	s.audit(r.Context(), req, observe.Event{Name: observe.ConsentApproved})
	s.Clients.StoreCopies(r.Context(), client)
	to, state, err := s.beginTransaction(r.Context(), f, s.rememberable(client, req.RedirectURI))
	if err == nil {
		err = s.bind(w, r, state)
	}
	switch {
	case errors.Is(err, errNoTransaction):
		s.writeErrorPage(w, r, req.ClientID, err)
	case err != nil:
		s.redirectError(w, r, req, err)
	default:
		s.continueAtEntra(w, req, to)
	}
}

// continueAtEntra sends the browser to Entra.
func (s *Server) continueAtEntra(w http.ResponseWriter, req request, to string) {
	page := pages.Continue{To: to, Client: req.ClientName}
	if u, err := url.Parse(to); err == nil {
		page.Host = u.Host
	}
	s.Pages.Render(w, http.StatusOK, page)
}

// readDecision reads the submitted form. Three things must agree that it was
// sent by our page in this browser: where the browser says the request comes
// from, the seal of the form, and the cookie the form was sealed for.
func (s *Server) readDecision(w http.ResponseWriter, r *http.Request) (decision string, f consentForm, err error) {
	if err := s.sameOrigin(r); err != nil {
		return "", f, err
	}
	p, err := readForm(w, r)
	if err == nil {
		err = p.unambiguous()
	}
	if err != nil {
		return "", f, err
	}
	if err = s.openForm(r.Context(), keyring.ConsentForm, p.Get("request"), &f); err != nil {
		return "", f, err
	}
	if err = s.checkFormOwner(r, f.Browser, f.Expires); err != nil {
		return "", f, err
	}
	switch decision = p.Get("decision"); decision {
	case decideApprove:
		f.Request.Scopes = s.allowed(f.Request.Scopes, p)
		return decision, f, nil
	case decideCancel, decideInFull:
		return decision, f, nil
	}
	return "", f, newPageError(pages.UnreadableForm, oauth.InvalidRequest, "The form contains no decision.")
}

// allowed are the scopes without those that the person has unticked. A form
// whose page had no check boxes leaves nothing out.
func (s *Server) allowed(asked oauth.Scopes, p params) oauth.Scopes {
	if !p.Has(pages.ChoiceField) {
		return asked
	}
	var out []string
	for _, permission := range pages.Permissions(asked, s.Required, nil) {
		if !permission.Optional || p.Has(permission.Field()) {
			out = append(out, permission.Scope)
		}
	}
	return oauth.NewScopes(out...)
}

// registered reads req's client again and checks that its redirect URI is still
// allowed: both may have changed while the page was open.
func (s *Server) registered(ctx context.Context, req request) (clients.Client, error) {
	client, err := s.Clients.Lookup(ctx, req.ClientID)
	if err != nil {
		return clients.Client{}, err
	}
	if !client.Allows(req.RedirectURI) {
		return clients.Client{}, newPageError(pages.WithdrawnAddress, oauth.InvalidRedirectURI, "The address at which the app asked for its answer is no longer registered.")
	}
	return client, nil
}

// beginTransaction stores the transaction of an approved form and returns the URL at
// Entra. A form that is sent again continues its transaction while that is pending.
func (s *Server) beginTransaction(ctx context.Context, f consentForm, rememberable bool) (to string, state upstreamState, err error) {
	if state = (upstreamState{secret.New(f.State)}); state.IsZero() {
		state = newState(f.Expires)
	}
	t := newTransaction(state, f.Request, f.Browser)
	t.remember = rememberable
	if f.Approver != nil {
		t.approver, t.loginHint, t.remember = f.Approver.Subject, f.Approver.Username, false
	}
	to, err = s.startAtEntra(ctx, t)
	if !errors.Is(err, store.ErrExists) {
		return to, state, err
	}
	if t, err = s.readTransaction(ctx, state); err != nil {
		return "", state, err
	}
	if t.claim != "" {
		return "", state, errNoTransaction
	}
	if !slices.Equal(t.request.Scopes, f.Request.Scopes) || f.Approver == nil && t.approver != "" {
		// The last decision counts.
		t.request.Scopes = f.Request.Scopes
		if f.Approver == nil {
			t.approver, t.loginHint, t.remember = "", "", rememberable
		}
		if _, err := s.replaceTransaction(ctx, t); errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return "", state, errNoTransaction
		} else if err != nil {
			return "", state, storageUnavailable(err)
		}
	}
	to, err = s.authorizeURL(ctx, t)
	return to, state, err
}

// startAtEntra stores t and returns where the browser signs in. Nothing is
// stored if Entra cannot be reached.
func (s *Server) startAtEntra(ctx context.Context, t transaction) (to string, err error) {
	t.expires = s.Now().Add(transactionLifetime)
	if to, err = s.authorizeURL(ctx, t); err != nil {
		return "", err
	}
	return to, s.insertTransaction(ctx, t)
}

func (s *Server) authorizeURL(ctx context.Context, t transaction) (string, error) {
	r := entra.AuthorizeRequest{
		State: t.state.Reveal(), Nonce: t.nonce.Reveal(), CodeChallenge: oauth.S256(t.verifier.Reveal()), Claims: t.claims.Reveal(),
		LoginHint: t.loginHint, Prompt: t.page.Prompt, Scopes: t.page.Scopes,
	}
	if t.loginHint == "" { // nobody knows yet who it will be
		r.Prompt, r.DomainHint = cmp.Or(t.page.Prompt, s.Prompt), s.DomainHint
	}
	to, err := s.Upstream.AuthorizeURL(ctx, r)
	if err != nil {
		return "", entra.AsError(err).AtCallback()
	}
	return to, nil
}
