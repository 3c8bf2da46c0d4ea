package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
)

// formToken protects a form against requests that another site makes for the user
// (CSRF): it is valid for one purpose, in the browser that got the page, for as long
// as the page is.
type formToken struct {
	Purpose string    `json:"purpose"`
	Browser string    `json:"browser"`
	Expires time.Time `json:"expires"`
}

// FormToken makes the token that a form for purpose carries in a hidden field.
// It gives the browser its cookie if it has none. No storage I/O.
func (s *Server) FormToken(w http.ResponseWriter, r *http.Request, purpose string) (string, error) {
	return s.sealForm(r.Context(), keyring.FormToken, formToken{purpose, s.ensureBrowser(w, r).hash(), s.Now().Add(consentLifetime)})
}

// CheckForm refuses a submitted form unless three things agree that it was sent
// by our page in this browser: where the browser says the request comes from,
// the seal of token, and the cookie it was made for. No storage I/O.
func (s *Server) CheckForm(r *http.Request, purpose, token string) error {
	if err := s.sameOrigin(r); err != nil {
		return err
	}
	var f formToken
	if err := s.openForm(r.Context(), keyring.FormToken, token, &f); err != nil {
		return err
	}
	if f.Purpose != purpose {
		return newPageError(pages.UnreadableForm, oauth.InvalidRequest, "The form was made for something else.")
	}
	return s.checkFormOwner(r, f.Browser, f.Expires)
}

// sealForm makes what a form of ours carries.
func (s *Server) sealForm(ctx context.Context, purpose keyring.Purpose, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sealed, err := s.Ring.Seal(ctx, purpose, nil, plain)
	if err != nil {
		return "", keysUnavailable(err)
	}
	return sealed, nil
}

// openForm reads what a form of ours carries.
func (s *Server) openForm(ctx context.Context, purpose keyring.Purpose, sealed string, v any) error {
	plain, err := s.Ring.Open(ctx, purpose, nil, sealed)
	if errors.Is(err, keyring.ErrNotOurs) {
		return newPageError(pages.UnreadableForm, oauth.InvalidRequest, "The form was not made by this server.")
	}
	if err != nil {
		return keysUnavailable(err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return oauth.New(oauth.ServerError, "The form cannot be read.").Because(err)
	}
	return nil
}

// checkFormOwner refuses a form of another browser, and one that is too old.
func (s *Server) checkFormOwner(r *http.Request, browser string, expires time.Time) error {
	if !s.browser(r).matches(browser) {
		return newPageError(pages.OtherBrowser, oauth.InvalidRequest, "This page was opened in another browser, or the browser did not send its cookie.")
	}
	if !s.Now().Before(expires) {
		return newPageError(pages.PageExpired, oauth.InvalidRequest, "The page has been open for too long.")
	}
	return nil
}

// sameOrigin refuses forms that another site submits. Browsers too old for
// Sec-Fetch-Site are held by Origin, and by the cookie that they do not send
// with another site's form. Origin is null where the page's Referrer-Policy is
// no-referrer, as ours is (Fetch, "append a request Origin header").
func (s *Server) sameOrigin(r *http.Request) error {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	fromHere := site == "" || site == "same-origin" || site == "none"
	if !fromHere || (origin != "" && origin != "null" && origin != s.origin) {
		return newPageError(pages.OtherSite, oauth.AccessDenied, "The form was sent by another site.")
	}
	return nil
}
