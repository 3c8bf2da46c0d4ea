package resource

import (
	"errors"
	"net/http"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// authenticateEntra is authenticate for a token of Entra's own. Whoever sends
// one is a program that somebody set up, so the refusal says what to change.
func (g *Guard) authenticateEntra(w http.ResponseWriter, r *http.Request, token string) *grants.Access {
	access, err := g.verifyEntra(r.Context(), token)
	if err == nil {
		return access
	}
	var refusal *entra.Refusal
	if !errors.As(err, &refusal) {
		g.undecided(w, r, err)
		return nil
	}
	if !g.admit(w, r) {
		return nil
	}
	observe.Audit(r.Context(), g.log, observe.Event{
		Name: observe.CallerRefused, Client: observe.AuditClient{ID: refusal.AppID}, Tenant: refusal.TenantID, Reason: refusal.Reason,
	})
	refused := refusal.OAuth()
	if refusal.Forbidden {
		// No challenge: a program cannot meet it, and the token is good.
		oauth.WriteError(w, r, g.log, refused)
		return nil
	}
	g.refuse(w, r, refused, challenge{err: refused, scope: g.baseline})
	return nil
}

// byItself reports whether no user's scopes stand behind access: roles alone
// say what such a caller may do, and what needs a scope needs a user.
func byItself(access *grants.Access) bool {
	return access.Kind != grants.User && len(access.Scopes) == 0
}
