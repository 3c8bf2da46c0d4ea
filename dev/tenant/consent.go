package tenant

import "slices"

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
	if err := t.save(); err != nil {
		t.log.Error("simulated tenant: consent is kept until the process ends only", "cause", err)
	}
}
