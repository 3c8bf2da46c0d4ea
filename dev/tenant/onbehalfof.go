package tenant

import (
	"errors"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// onBehalfOf is entra-docs: v2-oauth2-on-behalf-of-flow: an access token that
// was meant for this app is traded for one to another resource. The caller
// holds mu.
func (t *Tenant) onBehalfOf(req tokenRequest) (map[string]any, *refusal) {
	for _, name := range []string{"assertion", "scope", "requested_token_use"} {
		if req.form.Get(name) == "" {
			return nil, refuse(900144, name)
		}
	}
	if req.form.Get("requested_token_use") != "on_behalf_of" {
		return nil, refuse(90100, "requested_token_use")
	}
	if req.realm.name == "common" || req.realm.tenant == Consumers {
		return nil, refuse(9001023)
	}
	claims, refused := t.userAssertion(req)
	if refused != nil {
		return nil, refused
	}
	objectID, _ := claims["oid"].(string)
	tenant, _ := claims["tid"].(string)
	sid, _ := claims["sid"].(string)
	u := t.userByID(objectID)
	if u == nil {
		return nil, refuse(50034, objectID)
	}
	if f := t.admissionOfServer(u, req.client, realm{tenant, tenant}); f != nil {
		if f.code == 53003 {
			return nil, f.as("interaction_required")
		}
		return nil, f.as("invalid_grant")
	}
	// entra-docs, same page, "Error response example": interaction_required
	// with claims, which the middle tier hands to whoever can sign in again.
	if f := t.policy(u, sid); f != nil {
		return nil, f
	}
	asked, refused := t.tokenScope(req.client, req.form.Get("scope"))
	if refused != nil {
		return nil, refused
	}
	if len(asked.on) == 0 {
		return nil, refuse(70011, req.form.Get("scope"))
	}
	if missing := t.unconsented(u, req.client, wanted{on: asked.on}); !missing.empty() {
		return nil, refuse(65001, req.client.ClientID)
	}
	return t.issue(req, issuance{user: u, sid: sid, tenant: tenant, authTime: t.at(), wanted: asked})
}

// userAssertion verifies the incoming token: ours, alive, a user's access
// token, and meant for this very app.
func (t *Tenant) userAssertion(req tokenRequest) (jwt.MapClaims, *refusal) {
	claims, err := t.parse(req.form.Get("assertion"))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) || errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, refuse(500133)
	case err != nil:
		return nil, refuse(50013, "the signature or the form is not valid")
	case claims["idtyp"] == "app" || claims["scp"] == nil:
		return nil, refuse(50013, "it is not a user's access token")
	}
	audience, _ := claims.GetAudience()
	if !slices.ContainsFunc(audience, func(a string) bool {
		return strings.EqualFold(a, req.client.ClientID) || strings.EqualFold(a, req.client.AppIDURI)
	}) {
		return nil, refuse(50013, "its audience is not this application")
	}
	if tenant := claims["tid"]; req.realm.tenant != "" && tenant != req.realm.tenant {
		return nil, refuse(50013, "it was issued in another tenant")
	}
	return claims, nil
}
