package authserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
)

// Three cookies say something about a browser:
//
//   - csrf names it, for as long as it is open and for all its tabs. The consent
//     form and the transaction hold its hash, so that a form is sent, and a
//     sign-in finished, by the browser that began it.
//   - signin-… binds it to one sign-in, for as long as that is under way. It is
//     sealed for the state, so that a callback with a made-up state is refused
//     before anything is read, and a state works in no browser that did not
//     approve it.
//   - approver says who has approved in it; see approval.go.
//
// The callback requires the first two. With csrf alone anyone could cause reads of
// the table; with signin-… alone, on http://localhost, where a program on another
// port can plant cookies, the cookie could come from another browser's sign-in.

// maxBindings is how many sign-ins one browser can have in progress. With more, its
// request headers would exceed what servers accept, so the oldest are dropped.
const maxBindings = 8

// browserID is the random value of the CSRF cookie. It is the same for all tabs
// of a browser, so that a page opened twice can be approved in either tab.
type browserID struct{ secret.Value }

// hash is what the consent form holds of it.
func (b browserID) hash() string {
	sum := sha256.Sum256([]byte("csrf:" + b.Reveal()))
	return hex.EncodeToString(sum[:])
}

func (b browserID) matches(hash string) bool {
	return !b.IsZero() && subtle.ConstantTimeCompare([]byte(b.hash()), []byte(hash)) == 1
}

// ensureBrowser returns the id in r's CSRF cookie; if there is none it gives
// the browser a new one.
func (s *Server) ensureBrowser(w http.ResponseWriter, r *http.Request) browserID {
	id := s.browser(r)
	if id.IsZero() {
		id = browserID{secret.New(oauth.NewVerifier())}
		http.SetCookie(w, s.cookie(s.cookieName("csrf"), id.Reveal(), 0))
	}
	return id
}

// browser is the id in r's CSRF cookie, zero if there is none or it is not as
// we write it.
func (s *Server) browser(r *http.Request) browserID {
	c, err := r.Cookie(s.cookieName("csrf"))
	if err != nil {
		return browserID{}
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(c.Value); err != nil || len(raw) != 32 {
		return browserID{}
	}
	return browserID{secret.New(c.Value)}
}

// bind binds the sign-in of state to this browser. The value is sealed for that
// state, so no other cookie can replace it; the time in front only tells which cookie
// is the oldest.
func (s *Server) bind(w http.ResponseWriter, r *http.Request, state upstreamState) error {
	sealed, err := s.Ring.Seal(r.Context(), keyring.BrowserBinding, []byte(state.Reveal()), nil)
	if err != nil {
		return keysUnavailable(err)
	}
	for _, name := range s.surplusBindings(r) {
		http.SetCookie(w, s.cookie(name, "", -1))
	}
	value := strconv.FormatInt(s.Now().Unix(), 36) + "." + sealed
	http.SetCookie(w, s.cookie(s.bindingName(state), value, int(transactionLifetime.Seconds())))
	return nil
}

// bound reports whether r comes from the browser that approved state.
func (s *Server) bound(ctx context.Context, r *http.Request, state upstreamState) error {
	c, err := r.Cookie(s.bindingName(state))
	if err != nil {
		return errNotBound
	}
	_, sealed, _ := strings.Cut(c.Value, ".")
	_, err = s.Ring.Open(ctx, keyring.BrowserBinding, []byte(state.Reveal()), sealed)
	if errors.Is(err, keyring.ErrNotOurs) {
		return errNotBound
	}
	if err != nil {
		return keysUnavailable(err)
	}
	return nil
}

var errNotBound = newPageError(pages.SignInElsewhere, oauth.InvalidRequest, "This sign-in was not started in this browser, or the browser did not send its cookie.")

// shortenBinding lets the cookie of a finished sign-in live only as long as its
// answer can be repeated.
func (s *Server) shortenBinding(w http.ResponseWriter, r *http.Request, state upstreamState) {
	name := s.bindingName(state)
	if c, err := r.Cookie(name); err == nil {
		http.SetCookie(w, s.cookie(name, c.Value, int(answerLifetime.Seconds())))
	}
}

// surplusBindings are the names of the oldest binding cookies: those to delete so
// that one more stays within the limit.
func (s *Server) surplusBindings(r *http.Request) []string {
	prefix := s.cookieName("signin-")
	var found []*http.Cookie
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			found = append(found, c)
		}
	}
	slices.SortStableFunc(found, func(a, b *http.Cookie) int { return cmp.Compare(bindingTime(a), bindingTime(b)) })
	var names []string
	for len(found) >= maxBindings {
		names, found = append(names, found[0].Name), found[1:]
	}
	return names
}

// bindingTime is when a binding was made; one that this server did not make is the
// oldest.
func bindingTime(c *http.Cookie) int64 {
	when, _, _ := strings.Cut(c.Value, ".")
	seconds, _ := strconv.ParseInt(when, 36, 64)
	return seconds
}

func (s *Server) bindingName(state upstreamState) string {
	return s.cookieName("signin-" + state.key()[:16])
}

// cookieName adds __Host-, with which browsers accept a cookie only from this
// very host over https, so that no neighbour or subdomain can plant one.
// Browsers differ on it for http://localhost, where it is left out.
func (s *Server) cookieName(name string) string {
	if s.base != "" { // the host has other servers, perhaps of this kind
		sum := sha256.Sum256([]byte(s.Issuer))
		name = hex.EncodeToString(sum[:4]) + "-" + name
	}
	if s.secure {
		return "__Host-mcp-" + name
	}
	return "mcp-" + name
}

// cookie is Lax because the callback is a navigation that starts at Entra. The
// __Host- prefix forbids a Domain attribute.
func (s *Server) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}
