package tenant

import "net/http"

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
