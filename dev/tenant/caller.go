package tenant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// The facets of Agent ID (entra-docs: agent-id, agent-token-claims).
const (
	facetAgent     = "11"
	facetAgentUser = "13"
)

// CallerToken describes an access token for an app that is not obtained through
// its own sign-in: an application's, an agent's, or a user's through another
// application. It is issued without the protocol by which Entra would.
type CallerToken struct {
	// For is the client id of the app that the token is for; empty is
	// DefaultClientID.
	For string
	// App is the client id of the application that asks. Any will do: its
	// service principal is derived from it.
	App string
	// Agent makes it an agent identity, made from Blueprint.
	Agent     bool
	Blueprint string
	// User is the person for whom App acts; AgentUser says that this account
	// is the agent's own.
	User      string
	AgentUser bool
	// Roles are application roles, assigned for this token, where there is no
	// User; Scopes the delegated permissions where there is one.
	Roles, Scopes []string
	// Public says that App is a public client.
	Public bool
	// Edit changes the claims before the token is signed.
	Edit func(claims map[string]any)
}

// Issue issues the token.
func (t *Tenant) Issue(c CallerToken) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.For == "" {
		c.For = DefaultClientID
	}
	target, ok := t.resource(c.For)
	if !ok || target.app == nil {
		return "", fmt.Errorf("simulated tenant: no application %s", c.For)
	}
	strength := "2"
	if c.Public {
		strength = "0"
	}
	claims, err := t.callerClaims(c, target, strength)
	if err != nil {
		return "", err
	}
	if c.Agent {
		claims["xms_act_fct"] = facetAgent + " 9"
		switch {
		case c.User == "":
			claims["xms_sub_fct"] = "9 " + facetAgent
			claims["sub"] = pairwise(claims["oid"].(string), target.id) // differs from oid
		case c.AgentUser:
			claims["xms_sub_fct"] = facetAgentUser
		}
		if c.Blueprint != "" {
			claims["xms_par_app_azp"] = c.Blueprint
		}
	}
	if c.Edit != nil {
		c.Edit(claims)
	}
	return t.sign(claims, target.version() == 1)
}

// callerClaims are those of the token, agent or not; the caller holds mu.
func (t *Tenant) callerClaims(c CallerToken, target resource, strength string) (jwt.MapClaims, error) {
	life := t.lifetime()
	if c.User == "" {
		claims := t.appClaims(principal{Contoso, c.App, derivedID("service principal", c.App), strength}, target, life)
		for _, role := range c.Roles {
			if !slices.Contains(target.app.ApplicationRoles, role) {
				return nil, fmt.Errorf("simulated tenant: %s has no role %s for applications; it has %s", target.name, role, strings.Join(target.app.ApplicationRoles, ", "))
			}
			held, _ := claims["roles"].([]string)
			claims["roles"] = appendNew(slices.Clone(held), role)
		}
		return claims, nil
	}
	u := t.user(c.User)
	if u == nil {
		return nil, fmt.Errorf("simulated tenant: no account %s", c.User)
	}
	for _, scope := range c.Scopes {
		if !slices.Contains(target.scopes, scope) {
			return nil, fmt.Errorf("simulated tenant: %s exposes no scope %s; it exposes %s", target.name, scope, strings.Join(target.scopes, ", "))
		}
	}
	client := &App{ClientID: c.App}
	sid := t.guid()
	t.signIns[sid] = &session{sid: sid, user: u, at: t.at(), mfa: true, revocations: u.revocations}
	return t.accessClaims(tokenRequest{client: client, strength: strength},
		issuance{user: u, sid: sid, tenant: u.tenantAt(realm{Contoso, Contoso})}, permissions{resource: target, scopes: c.Scopes}, life), nil
}
