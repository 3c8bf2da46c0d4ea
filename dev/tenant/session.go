package tenant

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// session is one sign-in of one user in one browser.
type session struct {
	sid         string
	user        *User
	at          time.Time
	mfa         bool
	claims      []string // claims requests it has satisfied
	revocations int
}

const (
	sessionCookie = "simulated_tenant"
	sessionLife   = 24 * time.Hour
)

// session is the one of the browser's cookie, if it still counts. The caller
// holds mu.
func (t *Tenant) session(r *http.Request) *session {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	s := t.sessions[cookie.Value]
	if s == nil || s.revocations != s.user.revocations || t.at().Sub(s.at) > sessionLife {
		return nil
	}
	return s
}

// begin starts a session; nil if there is no such account. The caller holds mu.
func (t *Tenant) begin(w http.ResponseWriter, username string) *session {
	u := t.user(username)
	if u == nil {
		return nil
	}
	for value, old := range t.sessions {
		if t.at().Sub(old.at) > sessionLife {
			delete(t.sessions, value)
		}
	}
	for sid, old := range t.signIns {
		if t.at().Sub(old.at) > refreshLife {
			delete(t.signIns, sid)
		}
	}
	s := &session{sid: t.guid(), user: u, at: t.at(), revocations: u.revocations}
	t.signIns[s.sid] = s
	cookie := t.opaque()
	t.sessions[cookie] = s
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: cookie, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(t.base, "https:"),
	})
	return s
}

// hinted: a session of somebody else than login_hint names is no single
// sign-on.
func hinted(s *session, hint string) bool {
	return s == nil || hint == "" || strings.EqualFold(s.user.Username, hint)
}

// satisfies reports whether the sign-in carried the claims request that
// conditional access now demands. Key order and spaces do not matter.
func (s *session) satisfies(challenge string) bool {
	for _, claims := range s.claims {
		if sameJSON(claims, challenge) {
			return true
		}
	}
	return false
}

func isObject(text string) bool {
	var object map[string]any
	return json.Unmarshal([]byte(text), &object) == nil
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
