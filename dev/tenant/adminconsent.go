package tenant

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// adminConsent is entra-docs: v2-admin-consent: an administrator agrees for the
// whole tenant, outside of any sign-in, and is sent back to the application.
func (t *Tenant) adminConsent(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		t.refusePage(w, r, refuse(9002313), false)
		return
	}
	t.mu.Lock()
	req, refused := t.identify(r)
	// "Do not use 'common', as personal accounts cannot provide admin consent".
	if refused == nil && (req.realm.name == "common" || req.realm.tenant == Consumers) {
		refused = refuse(90002, req.realm.name)
	}
	if refused == nil {
		req.mode = "query"
		req.wanted, refused = t.parseScope(req.client, r.URL.Query().Get("scope"))
	}
	s := t.session(r)
	if r.PostForm.Has("user") {
		s = t.begin(w, r.PostForm.Get("user"))
	}
	t.mu.Unlock()
	switch {
	case refused != nil:
		t.refusePage(w, r, refused, false)
	case s == nil:
		t.accountPage(w, r, req)
	case !s.user.Admin || (req.realm.tenant != "" && s.user.Home != req.realm.tenant):
		// field: "Need admin approval", with another account as the only way on
		t.render(w, http.StatusOK, page{Title: "Need admin approval", App: req.client.Name,
			Text:    s.user.Name + " is not an administrator of this tenant.",
			Buttons: []button{{Name: "user", Value: "", Label: "Use another account"}}})
	default:
		t.answerAdminConsent(w, r, req, s)
	}
}

func (t *Tenant) answerAdminConsent(w http.ResponseWriter, r *http.Request, req *request, s *session) {
	var out url.Values
	switch r.PostForm.Get("consent") {
	case "accept":
		t.mu.Lock()
		t.agree(everyone(s.user.Home), req.client, req.wanted)
		t.mu.Unlock()
		out = url.Values{"tenant": {s.user.Home}, "scope": {r.URL.Query().Get("scope")}}
		if req.state != "" {
			out.Set("state", req.state)
		}
	case "decline":
		out = t.query(t.stamp(refuse(65004).as("consent_required"), r), req.state)
	default:
		t.render(w, http.StatusOK, page{
			Title: "Consent on behalf of your organization", App: req.client.Name, List: req.wanted.words(),
			Text: "Signed in as " + s.user.Username + ".",
			Buttons: []button{
				{Name: "consent", Value: "accept", Label: "Accept", Primary: true},
				{Name: "consent", Value: "decline", Label: "Decline"},
			},
		})
		return
	}
	out.Set("admin_consent", "True")
	t.respond(w, r, req, out)
}

// everyone stands in the consents for all accounts of a tenant.
func everyone(tenant string) *User { return &User{ObjectID: "everyone@" + tenant} }

// agreed are the scopes of a resource that u, or an administrator for all of
// its tenant, has agreed to; the caller holds mu.
func (t *Tenant) agreed(u *User, client *App, resourceID string) []string {
	return appendNew(slices.Clone(t.consents[consentKey(u, client, resourceID)]),
		t.consents[consentKey(everyone(cmp.Or(u.GuestIn, u.Home)), client, resourceID)]...)
}

// words lists w for a consent page.
func (w wanted) words() []string {
	list := strings.Fields(strings.Join(w.oidc, " "))
	for _, p := range w.on {
		for _, scope := range p.scopes {
			list = append(list, scope+" on "+p.resource.name)
		}
	}
	return list
}
