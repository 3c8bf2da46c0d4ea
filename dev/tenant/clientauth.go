package tenant

import (
	"crypto/subtle"
	"net/http"
	"net/url"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate finds the client and checks its credential: a secret in the
// body or by Basic, a certificate assertion or a federated one (entra-docs:
// v2-oauth2-auth-code-flow). The caller holds mu.
func (t *Tenant) authenticate(r *http.Request, at realm) (*App, string, *refusal) {
	form := r.PostForm
	clientID, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		// RFC 6749 §2.3.1: both parts are form-encoded first.
		id, err1 := url.QueryUnescape(user)
		value, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || (clientID != "" && clientID != id) {
			return nil, "", refuse(9002313)
		}
		clientID, secret = id, value
	}
	if clientID == "" {
		return nil, "", refuse(900144, "client_id")
	}
	app := t.app(clientID)
	if app == nil || (app.SignInAudience == SingleTenant && at.tenant != "" && at.tenant != Contoso) {
		return nil, "", refuse(700016, clientID, at.name)
	}
	switch {
	case form.Get("client_assertion") != "":
		if form.Get("client_assertion_type") != assertionType {
			return nil, "", refuse(90100, "client_assertion_type")
		}
		return app, "2", t.checkAssertion(app, form.Get("client_assertion"), r.PathValue("tenant"))
	case secret != "":
		return app, "1", t.checkSecret(app, secret)
	}
	return nil, "", refuse(7000218)
}

func (t *Tenant) checkSecret(app *App, secret string) *refusal {
	for _, s := range app.Secrets {
		if subtle.ConstantTimeCompare([]byte(s.Value), []byte(secret)) != 1 {
			continue
		}
		if !s.Expires.IsZero() && !t.at().Before(s.Expires) {
			return refuse(7000222, app.ClientID)
		}
		return nil
	}
	return refuse(7000215, app.ClientID)
}
