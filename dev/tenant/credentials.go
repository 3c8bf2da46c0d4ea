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
	access, err := t.sign(t.appClaims(req.client.ClientID, req.client.ClientID, req.strength, req.realm.tenant, target, life), target.version() == 1)
	if err != nil {
		return nil, refuse(90006)
	}
	return map[string]any{
		"token_type": "Bearer", "access_token": access,
		"expires_in": int(life / time.Second), "ext_expires_in": int(life / time.Second),
	}, nil
}

// appClaims are those of a token without a user: sub is the principal.
func (t *Tenant) appClaims(clientID, principal, strength, tenant string, target resource, life time.Duration) jwt.MapClaims {
	claims := t.times(life)
	claims["tid"], claims["oid"], claims["sub"], claims["idtyp"] = tenant, principal, principal, "app"
	if target.version() == 1 {
		claims["ver"], claims["iss"], claims["aud"] = "1.0", t.sts(tenant), target.uri
		claims["appid"], claims["appidacr"] = clientID, strength
		return claims
	}
	claims["ver"], claims["iss"], claims["aud"] = "2.0", t.issuer(tenant), target.id
	claims["azp"], claims["azpacr"] = clientID, strength
	return claims
}
