package tenant

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Graph is the resource every unqualified scope belongs to.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
)

var (
	oidcScopes = []string{"openid", "profile", "email", "offline_access"}
	// A few of Graph's; the last three need an administrator (entra-docs:
	// scopes-oidc, "Admin-restricted permissions").
	graphScopes    = []string{"User.Read", "User.ReadBasic.All", "Mail.Read", "Calendars.Read", "Files.Read", "Directory.Read.All", "User.Read.All", "GroupMember.Read.All"}
	graphAdminOnly = graphScopes[5:]
)

// resource is something a token can be for.
type resource struct {
	id, uri, name string
	scopes        []string
	app           *App // nil for Graph
}

// permissions are scopes of one resource.
type permissions struct {
	resource resource
	prefix   string // how the request named the resource; empty: not at all
	scopes   []string
}

// full lists the scopes as the token response names them.
func (p permissions) full() []string {
	var list []string
	for _, s := range p.scopes {
		if p.prefix != "" {
			s = p.prefix + "/" + s
		}
		list = append(list, s)
	}
	return list
}

// wanted is a parsed scope parameter.
type wanted struct {
	oidc []string
	on   []permissions
}

func (w wanted) has(oidc string) bool { return slices.Contains(w.oidc, oidc) }

// resource finds what an identifier names; the caller holds mu.
func (t *Tenant) resource(identifier string) (resource, bool) {
	// Graph is named by the address it is served at, as in the national clouds.
	if identifier == graphID || strings.EqualFold(identifier, graphURI) || strings.EqualFold(identifier, t.base) {
		return resource{id: graphID, uri: graphURI, name: "Microsoft Graph (simulated)", scopes: graphScopes}, true
	}
	for _, app := range t.apps {
		if app.names(identifier) {
			return resource{id: app.ClientID, uri: app.AppIDURI, name: app.Name, scopes: app.Scopes, app: app}, true
		}
	}
	return resource{}, false
}

// parseScope reads a scope parameter as entra-docs: scopes-oidc describes it:
// a scope without a resource is Graph's, and .default stands alone. The caller
// holds mu.
func (t *Tenant) parseScope(client *App, raw string) (wanted, *refusal) {
	var w wanted
	var isDefault, isNamed bool
	for word := range strings.FieldsSeq(raw) {
		if lower := strings.ToLower(word); slices.Contains(oidcScopes, lower) {
			w.oidc = appendNew(w.oidc, lower)
			continue
		}
		prefix, name := "", word
		if i := strings.LastIndexByte(word, '/'); i >= 0 {
			prefix, name = word[:i], word[i+1:]
		}
		identifier := prefix
		if identifier == "" {
			identifier = graphURI
		}
		res, ok := t.resource(identifier)
		if !ok {
			return w, refuse(500011, identifier, Contoso)
		}
		if res.id == client.ClientID && !namesByGUID(client, identifier) {
			return w, refuse(90009, client.ClientID)
		}
		if name == ".default" {
			isDefault = true
			w.add(res, prefix, res.defaults()...)
			continue
		}
		isNamed = true
		i := slices.IndexFunc(res.scopes, func(s string) bool { return strings.EqualFold(s, name) })
		if i < 0 {
			return w, refuse(650053, client.Name, name, res.id)
		}
		w.add(res, prefix, res.scopes[i])
	}
	if isDefault && (isNamed || len(w.on) > 1) {
		return w, refuse(70011, raw)
	}
	return w, nil
}

// tokenScope is parseScope for the token endpoint, where an unknown scope does
// not mean that the client failed to authenticate.
func (t *Tenant) tokenScope(client *App, raw string) (wanted, *refusal) {
	w, refused := t.parseScope(client, raw)
	switch {
	case refused != nil && refused.code == 650053:
		return w, refused.as("invalid_scope")
	case refused == nil && len(w.on) > 1:
		return w, refuse(28000, raw)
	}
	return w, refused
}

// namesByGUID: entra-docs says an app may ask for a token for itself only by
// its GUID (AADSTS90009). api://<client id> contains it, and works in the
// field; api://<any name> does not.
func namesByGUID(app *App, identifier string) bool {
	return strings.EqualFold(strings.TrimPrefix(identifier, "api://"), app.ClientID)
}

// matchResource compares the parameter resource with Application ID URIs, as
// Entra does (entra-docs: agent-id/secure-mcp-server-with-entra-id): it must be
// one, and the scopes must be that app's. The caller holds mu.
func (t *Tenant) matchResource(q url.Values) *refusal {
	if !q.Has("resource") {
		return nil
	}
	want := q.Get("resource")
	for _, app := range t.apps {
		if app.AppIDURI != want && !slices.Contains(app.IdentifierURIs, want) {
			continue
		}
		for word := range strings.FieldsSeq(q.Get("scope")) {
			if i := strings.LastIndexByte(word, '/'); i < 0 && !slices.Contains(oidcScopes, strings.ToLower(word)) || i >= 0 && !app.names(word[:i]) {
				return refuse(9010010)
			}
		}
		return nil
	}
	return refuse(9010010)
}

// defaults is what .default stands for: what the registration lists.
func (r resource) defaults() []string {
	if r.app == nil {
		return []string{"User.Read"}
	}
	return r.scopes
}

func (w *wanted) add(res resource, prefix string, scopes ...string) {
	for i := range w.on {
		if w.on[i].resource.id == res.id {
			w.on[i].scopes = appendNew(w.on[i].scopes, scopes...)
			return
		}
	}
	w.on = append(w.on, permissions{res, prefix, slices.Clone(scopes)})
}

func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// adminOnly reports whether w has a scope that users cannot consent to.
func (w wanted) adminOnly(client *App) bool {
	for _, p := range w.on {
		for _, s := range p.scopes {
			if p.resource.app == nil && slices.Contains(graphAdminOnly, s) {
				return true
			}
			if slices.Contains(client.AdminOnly, p.resource.uri+"/"+s) {
				return true
			}
		}
	}
	return false
}

// oidcResource files the consent to openid, profile, email and offline_access.
const oidcResource = "oidc"

func consentKey(u *User, client *App, resourceID string) string {
	return u.ObjectID + " " + client.ClientID + " " + resourceID
}

// unconsented is the part of w that neither u nor an administrator has agreed
// to; the caller holds mu.
func (t *Tenant) unconsented(u *User, client *App, w wanted) wanted {
	var missing wanted
	if client.AdminConsented {
		return missing
	}
	agreed := t.agreed(u, client, oidcResource)
	for _, s := range w.oidc {
		if !slices.Contains(agreed, s) {
			missing.oidc = append(missing.oidc, s)
		}
	}
	for _, p := range w.on {
		agreed := t.agreed(u, client, p.resource.id)
		for _, s := range p.scopes {
			if !slices.Contains(agreed, s) {
				missing.add(p.resource, p.prefix, s)
			}
		}
	}
	return missing
}

func (w wanted) empty() bool { return len(w.oidc) == 0 && len(w.on) == 0 }

// agree records consent; the caller holds mu.
func (t *Tenant) agree(u *User, client *App, w wanted) {
	key := consentKey(u, client, oidcResource)
	t.consents[key] = appendNew(t.consents[key], w.oidc...)
	for _, p := range w.on {
		key := consentKey(u, client, p.resource.id)
		t.consents[key] = appendNew(t.consents[key], p.scopes...)
	}
	t.keep("a consent")
}

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
