package authserver

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"entramcp/handler/entra"
	"entramcp/handler/pages"
)

// fromAdminConsent recognizes the way back from the page on which an
// administrator approves this server for an organization. It is reached by a
// link, belongs to no sign-in, and so has no state of ours.
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
func fromAdminConsent(q url.Values) bool {
	return !q.Has("state") && (q.Has("admin_consent") || q.Has("error"))
}

// adminConsent tells the administrator how it went. Anyone can open this page
// by its address, so it does nothing, shows nothing that it was sent, and claims
// nothing that only Entra knows.
func (s *Server) adminConsent(w http.ResponseWriter, r *http.Request, q url.Values) {
	e := s.Upstream.FromRedirect(q)
	if e == nil && strings.EqualFold(q.Get("admin_consent"), "true") {
		s.Pages.Render(w, http.StatusOK, pages.Notice{Words: pages.BackFromAdminConsent})
		return
	}
	page := s.newErrorPage(r, pages.WordsFor(pages.AdminNotApproved))
	// Here Entra words the administrator's own no as consent_required, or as
	// permission_denied without a number.
	if e != nil && e.AADSTS != 0 && e.Kind != entra.Declined && e.Kind != entra.ConsentNeeded {
		page.Summary, page.NextStep = e.Summary, e.NextStep
	}
	if e != nil {
		s.logAdminConsent(r, e)
	}
	s.Pages.Render(w, http.StatusForbidden, page)
}

// logAdminConsent writes one short line: the request is anybody's, and so is
// its text.
func (s *Server) logAdminConsent(r *http.Request, e *entra.Error) {
	s.Log.LogAttrs(r.Context(), slog.LevelInfo, "administrator's consent not given",
		slog.Int("aadsts", e.AADSTS), slog.String("description", excerpt(e.Summary, maxLogged)))
}
