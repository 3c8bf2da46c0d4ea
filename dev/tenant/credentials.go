package tenant

import (
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// clientCredentials is entra-docs: v2-oauth2-client-creds-grant-flow: a token
// for the application itself. The caller holds mu.
func (t *Tenant) clientCredentials(req tokenRequest) (map[string]any, *refusal) {
	raw := req.form.Get("scope")
	if raw == "" {
		return nil, refuse(900144, "scope")
	}
	identifier, ok := strings.CutSuffix(raw, "/.default")
	if !ok || strings.ContainsAny(raw, " ") {
		return nil, refuse(1002012, raw)
	}
	if req.realm.tenant == "" || req.realm.tenant == Consumers {
		return nil, refuse(9001023)
	}
	target, ok := t.resource(identifier)
	if !ok {
		return nil, refuse(500011, identifier, req.realm.tenant)
	}
	life := t.lifetime()
	access, err := t.sign(t.appClaims(principal{
		tenant: req.realm.tenant, clientID: req.client.ClientID, objectID: req.client.Principal, strength: req.strength,
	}, target, life), target.version() == 1)
	if err != nil {
		return nil, refuse(90006)
	}
	return map[string]any{
		"token_type": "Bearer", "access_token": access,
		"expires_in": int(life / time.Second), "ext_expires_in": int(life / time.Second),
	}, nil
}

// principal is an application as the subject of a token.
type principal struct {
	tenant, clientID, objectID string
	strength                   string // azpacr: 1 for a secret, 2 for a certificate or a federated token
}

// appClaims are those of a token without a user. Entra issues it to any
// application of the tenant; only the roles say that somebody wanted it to
// (entra-docs: v2-oauth2-client-creds-grant-flow). The caller holds mu.
func (t *Tenant) appClaims(p principal, target resource, life time.Duration) jwt.MapClaims {
	claims := t.times(life)
	claims["tid"], claims["oid"], claims["sub"] = p.tenant, p.objectID, p.objectID
	if target.app == nil || !target.app.WithoutIDType {
		claims["idtyp"] = "app"
	}
	if target.app != nil {
		if roles := t.assigned[strings.ToLower(p.objectID+" "+target.app.ClientID)]; len(roles) > 0 {
			claims["roles"] = roles
		}
	}
	t.address(claims, p.tenant, p.clientID, p.strength, target)
	return claims
}

// address writes whom a token is from and for, in the version that the resource
// wants.
func (t *Tenant) address(claims jwt.MapClaims, tenant, clientID, strength string, target resource) {
	if target.version() == 1 {
		claims["ver"], claims["iss"], claims["aud"] = "1.0", t.sts(tenant), target.uri
		claims["appid"], claims["appidacr"] = clientID, strength
		return
	}
	claims["ver"], claims["iss"], claims["aud"] = "2.0", t.issuer(tenant), target.id
	claims["azp"], claims["azpacr"] = clientID, strength
}
