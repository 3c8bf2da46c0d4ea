package authserver

import (
	"net/http"

	"entramcp/handler/clients"
	"entramcp/handler/keyring"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// authorize is the authorization endpoint (RFC 6749 §3.1). It validates the request
// and shows the consent page. It writes nothing and does not redirect to Entra, so a
// link that someone else made, a prefetch, or a repeated request has no effect.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	p, err := authorizationParams(w, r)
	if err != nil {
		s.writeErrorPage(w, r, "", err)
		return
	}
	req, client, err := s.recipient(r.Context(), p)
	if err != nil {
		s.writeErrorPage(w, r, p.Get("client_id"), err)
		return
	}
	if err := s.validate(&req, client, p); err != nil {
		s.redirectErrorUnasked(w, r, req, client, err)
		return
	}
	if err := s.checkBlocks(r, req, req.parties()); err != nil {
		s.writeErrorPage(w, r, req.ClientID, err)
		return
	}
	s.audit(r.Context(), req, observe.Event{Name: observe.ConsentShown})
	f := s.newConsentForm(req, s.ensureBrowser(w, r))
	f.Approver = s.rememberedApprover(r, req, client)
	s.askConsent(w, r, f, client)
}

// authorizationParams are those of the URL or, for POST, of the body (OpenID
// Connect Core §3.1.2.1).
func authorizationParams(w http.ResponseWriter, r *http.Request) (params, error) {
	if r.Method == http.MethodPost {
		return readForm(w, r)
	}
	return readQuery(r)
}

// askConsent shows the consent page for f.
func (s *Server) askConsent(w http.ResponseWriter, r *http.Request, f consentForm, client clients.Client) {
	sealed, err := s.sealForm(r.Context(), keyring.ConsentForm, f)
	if err != nil {
		s.redirectErrorUnasked(w, r, f.Request, client, err)
		return
	}
	page := pages.Consent{
		Action: s.base + consentPath, Form: sealed,
		App:    appOf(client, f.Request.RedirectURI),
		Target: pages.TargetOf(f.Request.RedirectURI),
		Scopes: pages.Permissions(f.Request.Scopes, s.Required, s.ScopeWords), StaysConnected: mayRefresh(client),
		Tenant: s.Tenant, OtherAccount: f.OtherAccount,
	}
	if f.Approver != nil {
		page.RememberedFor = f.Approver.Username
	}
	s.Pages.Render(w, http.StatusOK, page)
}

// appOf is what the consent page shows about client.
func appOf(client clients.Client, redirectURI string) pages.App {
	return pages.App{
		Name: client.Name, Host: client.Host, Unchecked: client.Source == clients.SourceBuiltIn,
		Caution: !client.Trusted(redirectURI), Elsewhere: client.LeavesHost(redirectURI),
	}
}
