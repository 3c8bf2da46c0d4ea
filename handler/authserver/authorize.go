package authserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/pages"
)

// consentLifetime is how long a consent page can be approved.
const consentLifetime = 10 * time.Minute

// consentForm is what the consent page carries, sealed, from /authorize to
// /consent. It belongs to the browser whose CSRF cookie has this hash.
type consentForm struct {
	Request request   `json:"request"`
	Expires time.Time `json:"expires"`
	Browser string    `json:"browser"`
}

// authorize is the authorization endpoint (RFC 6749 §3.1). It validates
// everything and asks the user. It writes nothing and sends nobody to Entra, so
// a link that someone else made, a prefetch, or the same request twice costs
// and leaves nothing.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := parameters(w, r)
	if err != nil {
		s.fail(w, r, "", err)
		return
	}
	req, client, err := s.recipient(r.Context(), q)
	if err != nil {
		s.fail(w, r, q.Get("client_id"), err)
		return
	}
	if err := s.validate(&req, client, q); err != nil {
		s.refuseUnasked(w, r, req, client, err)
		return
	}
	browser, err := s.browser(w, r)
	if err != nil {
		s.refuseUnasked(w, r, req, client, err)
		return
	}
	sealed, err := s.sealConsent(r, consentForm{req, s.Now().Add(consentLifetime), browser.hash()})
	if err != nil {
		s.refuseUnasked(w, r, req, client, err)
		return
	}
	pages.Render(w, r, http.StatusOK, s.consentPage(req, client, sealed))
}

// parameters are those of the URL or, for POST, of the body (OpenID Connect
// Core §3.1.2.1).
func parameters(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return form(w, r)
	}
	return query(r)
}

func (s *Server) sealConsent(r *http.Request, f consentForm) (string, error) {
	plain, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	sealed, err := s.Ring.Seal(r.Context(), keyring.ConsentForm, nil, plain)
	if err != nil {
		return "", keysUnavailable(err)
	}
	return sealed, nil
}
