package tenant

import (
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
	for _, word := range strings.Fields(raw) {
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
		for _, word := range strings.Fields(q.Get("scope")) {
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
