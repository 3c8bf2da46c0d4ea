package tenant

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// signIn walks the user through account, second factor and consent. Each page
// posts back to the same URL, so everything but the answers is in the query.
func (t *Tenant) signIn(w http.ResponseWriter, r *http.Request, req *request) {
	answers := url.Values{}
	if r.Method == http.MethodPost {
		answers = r.PostForm
	}
	if answers.Has("cancel") {
		t.redirectRefusal(w, r, req, refuse(65004))
		return
	}
	t.mu.Lock()
	s := t.session(r)
	if answers.Has("user") {
		s = t.begin(w, answers.Get("user"))
	} else if r.Method == http.MethodGet && (req.prompt == "login" || req.prompt == "select_account" || !hinted(s, req.hint)) {
		s = nil // entra-docs: v2-oauth2-auth-code-flow, prompt negates single sign-on
	}
	t.mu.Unlock()
	if s == nil {
		if req.prompt == "none" {
			t.redirectRefusal(w, r, req, refuse(50058))
			return
		}
		t.accountPage(w, r, req)
		return
	}

	t.mu.Lock()
	step, refused := t.assess(s, req, answers)
	var out url.Values
	if step == done && refused == nil {
		out = url.Values{"code": {t.issueCode(s, req)}, "session_state": {s.sid}}
		t.keep("a sign-in")
		if req.state != "" {
			out.Set("state", req.state)
		}
	}
	t.mu.Unlock()
	if refused != nil && refused.oauth == "invalid_grant" {
		refused = refused.as("access_denied") // RFC 6749 §4.1.2.1 has no invalid_grant
	}
	switch {
	case refused != nil && (req.prompt == "none" || answers.Has("return") || refused.code == 65004 || refused.code == 50074):
		t.redirectRefusal(w, r, req, refused)
	case refused != nil:
		t.refusePage(w, r, refused, true)
	case step == askFactor:
		t.factorPage(w, s)
	case step == askConsent:
		t.consentPage(w, s, req)
	default:
		t.respond(w, r, req, out)
	}
}

type step int

const (
	done step = iota
	askFactor
	askConsent
)

// assess decides what stands between a signed-in user and a code. The caller
// holds mu.
func (t *Tenant) assess(s *session, req *request, answers url.Values) (step, *refusal) {
	if f := t.admission(s.user, req.client, req.realm); f != nil {
		return done, f
	}
	silent := req.prompt == "none"
	if s.user.MFA && !s.mfa {
		switch {
		case silent:
			return done, refuse(s.user.factorCode())
		case answers.Get("mfa") == "deny":
			return done, refuse(50074)
		case answers.Get("mfa") != "approve":
			return askFactor, nil
		}
		s.mfa = true
	}
	if req.claims != "" {
		s.claims = append(s.claims, req.claims)
	}
	missing := t.unconsented(s.user, req.client, req.wanted)
	if req.prompt == "consent" {
		missing = req.wanted
	}
	if missing.empty() {
		return done, nil
	}
	switch {
	case t.external: // entra-docs: external-id, supported features: only administrators consent
		return done, refuse(65001, req.client.ClientID)
	case silent:
		return done, refuse(65001, req.client.ClientID).as("consent_required")
	case missing.adminOnly(req.client) && !s.user.Admin && req.client.ConsentWorkflow:
		return done, refuse(90095)
	case missing.adminOnly(req.client) && !s.user.Admin:
		return done, refuse(90094)
	case answers.Get("consent") == "decline":
		return done, refuse(65004)
	case answers.Get("consent") != "accept":
		return askConsent, nil
	}
	t.agree(s.user, req.client, missing)
	return done, nil
}

// admission holds what bars an account from an app, at sign-in and at every
// later use of its refresh token alike. The caller holds mu.
func (t *Tenant) admission(u *User, app *App, at realm) *refusal {
	switch {
	case u.Disabled:
		return refuse(50057)
	case at.tenant != "" && u.Home != at.tenant && u.GuestIn != at.tenant:
		return refuse(50020, u.Username, at.tenant, app.ClientID)
	case at.name == "organizations" && u.Home == Consumers:
		return refuse(500208)
	case !app.admits(u.tenantAt(at)):
		return refuse(50020, u.Username, u.tenantAt(at), app.ClientID)
	case u.Blocked:
		return refuse(53003).demanding(u.Challenge)
	case app.AssignmentRequired && u.Unassigned:
		return refuse(50105, app.ClientID, u.Username)
	}
	return nil
}

// admissionOfServer is admission for requests at the token endpoint, which come
// from the server's address.
func (t *Tenant) admissionOfServer(u *User, app *App, at realm) *refusal {
	if f := t.admission(u, app, at); f != nil {
		return f
	}
	if u.BlockedFromServers {
		return refuse(53003)
	}
	return nil
}

// tenantAt is the tenant in which u is signed in: the one the path names, or
// at an alias the account's own (entra-docs: v2-oauth2-auth-code-flow, guests
// must be sent to the resource tenant).
func (u *User) tenantAt(at realm) string {
	if at.tenant != "" {
		return at.tenant
	}
	return u.Home
}

func (u *User) factorCode() int {
	if u.NoSecondFactor {
		return 50079
	}
	return 50076
}

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
	now := t.at()
	t.forget(now)
	s := &session{sid: t.guid(), user: u, at: now, revocations: u.revocations}
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

// logout ends the browser's session. Refresh tokens of confidential clients
// stay alive (entra-docs: refresh-tokens, "Single sign-out"), and the browser
// returns only to a registered URI (entra-docs: v2-protocols-oidc).
func (t *Tenant) logout(w http.ResponseWriter, r *http.Request) {
	back := r.URL.Query().Get("post_logout_redirect_uri")
	t.mu.Lock()
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		delete(t.sessions, cookie.Value)
	}
	known := false
	for _, app := range t.apps {
		known = known || (back != "" && app.allows(back))
	}
	t.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	if known {
		http.Redirect(w, r, back, http.StatusFound)
		return
	}
	t.render(w, http.StatusOK, page{Title: "Signed out", Text: "You are signed out of the simulated tenant."})
}
