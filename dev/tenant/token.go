package tenant

import (
	"net/http"
	"net/url"
)

// The grants of the token endpoint.
const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantOnBehalfOf  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantCredentials = "client_credentials"
)

// tokenRequest is a request whose client has proved who it is.
type tokenRequest struct {
	realm  realm
	client *App
	// strength is the azpacr and appidacr claim: 1 for a secret, 2 for a
	// certificate or a federated token.
	strength string
	form     url.Values
}

// token is the token endpoint.
func (t *Tenant) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pragma", "no-cache")
	if r.Method != http.MethodPost {
		t.writeRefusal(w, r, refuse(900561, "POST", r.Method))
		return
	}
	if err := r.ParseForm(); err != nil {
		t.writeRefusal(w, r, refuse(9002313))
		return
	}
	t.record("token", r.PostForm)
	t.mu.Lock()
	answer, refused := t.grant(r)
	t.mu.Unlock()
	if refused != nil {
		t.writeRefusal(w, r, refused)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// grant holds mu for the whole request, so a code has one winner.
func (t *Tenant) grant(r *http.Request) (map[string]any, *refusal) {
	form := r.PostForm
	realm, ok := realmOf(r.PathValue("tenant"))
	if !ok {
		return nil, refuse(90002, r.PathValue("tenant"))
	}
	for name, values := range form {
		if len(values) > 1 { // RFC 6749 §3.2
			return nil, refuse(90100, name)
		}
	}
	if form.Get("grant_type") == "" {
		return nil, refuse(900144, "grant_type")
	}
	if f := t.matchResource(form); f != nil {
		return nil, f
	}
	client, strength, refused := t.authenticate(r, realm)
	if refused != nil {
		return nil, refused
	}
	// entra-docs: v2-oauth2-auth-code-flow, "Redirect URIs for single-page
	// apps": no client credentials in the presence of an Origin header.
	if origin := r.Header.Get("Origin"); origin != "" {
		return nil, refuse(9002326, origin)
	}
	req := tokenRequest{realm, client, strength, form}
	switch form.Get("grant_type") {
	case grantCode:
		return t.redeem(req)
	case grantRefresh:
		return t.refresh(req)
	case grantOnBehalfOf:
		return t.onBehalfOf(req)
	case grantCredentials:
		return t.clientCredentials(req)
	}
	return nil, refuse(70003, form.Get("grant_type"))
}
