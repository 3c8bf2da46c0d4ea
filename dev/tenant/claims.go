package tenant

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuance is one decision to issue tokens.
type issuance struct {
	user     *User
	signIn   *session // nil after a restart
	sid      string
	tenant   string
	nonce    string
	authTime time.Time
	wanted   wanted
}

// groupLimit: more groups than this do not fit a JWT, and an overage claim
// stands in (entra-docs: access-token-claims-reference, "Groups overage").
const groupLimit = 200

// issue makes the token response, but for the signatures. The caller holds mu.
func (t *Tenant) issue(req tokenRequest, i issuance) (map[string]any, *refusal) {
	on := i.wanted.on
	if len(on) == 0 { // OIDC only: the access token is for Graph's userinfo
		graph, _ := t.resource(graphURI)
		on = []permissions{{resource: graph}}
	}
	target := on[0] // one resource to a token; the first named wins
	life := t.lifetime()
	access, err := t.compose(t.accessClaims(req, i, target, life), target.resource.version() == 1)
	if err != nil {
		return nil, refuse(90006)
	}
	scope := append(target.full(), i.wanted.oidc...)
	answer := map[string]any{
		"token_type": "Bearer", "scope": withoutOffline(scope), "access_token": access,
		"expires_in": int(life / time.Second), "ext_expires_in": int(life / time.Second),
	}
	if i.wanted.has("offline_access") {
		refresh, err := t.sealRefresh(refreshToken{
			ObjectID: i.user.ObjectID, Tenant: i.tenant, ClientID: req.client.ClientID, SID: i.sid,
			Scope: strings.Join(scope, " "), Issued: t.at(), AuthTime: i.authTime, Revocations: i.user.revocations,
		})
		if err != nil {
			return nil, refuse(90006)
		}
		answer["refresh_token"] = refresh
	}
	if i.wanted.has("openid") {
		id, err := t.compose(t.idClaims(req, i), false)
		if err != nil {
			return nil, refuse(90006)
		}
		answer["id_token"] = id
	}
	if req.form.Get("client_info") == "1" { // MSAL's account key
		info, err := json.Marshal(map[string]string{"uid": i.user.ObjectID, "utid": i.tenant})
		if err != nil {
			return nil, refuse(90006)
		}
		answer["client_info"] = base64.RawURLEncoding.EncodeToString(info)
	}
	return answer, nil
}

func withoutOffline(scopes []string) string {
	return strings.Join(filter(scopes, func(s string) bool { return s != "offline_access" }), " ")
}

// lifetime is 60 to 90 minutes at random (entra-docs: access-tokens).
func (t *Tenant) lifetime() time.Duration {
	spread := binary.BigEndian.Uint32(t.bytes(4)) % 1800
	return time.Hour + time.Duration(spread)*time.Second
}

// version is the one the resource's manifest asks for; Graph's is 1.
func (r resource) version() int {
	if r.app != nil && r.app.TokenVersion == 2 {
		return 2
	}
	return 1
}

// times are the claims every token has. Entra dates nbf five minutes back.
func (t *Tenant) times(life time.Duration) jwt.MapClaims {
	now := t.at()
	return jwt.MapClaims{
		"iat": now.Add(-5 * time.Minute).Unix(), "nbf": now.Add(-5 * time.Minute).Unix(), "exp": now.Add(life).Unix(),
		"uti": base64.RawURLEncoding.EncodeToString(t.bytes(16)), "rh": "1.",
	}
}

// accessClaims follow the version the resource wants, whichever endpoint was
// used (entra-docs: access-tokens, access-token-claims-reference).
func (t *Tenant) accessClaims(req tokenRequest, i issuance, target permissions, life time.Duration) jwt.MapClaims {
	claims := t.times(life)
	claims["tid"], claims["oid"], claims["sid"] = i.tenant, i.user.ObjectID, i.sid
	claims["name"] = i.user.Name
	claims["sub"] = pairwise(i.user.ObjectID, target.resource.id)
	if len(target.scopes) > 0 {
		claims["scp"] = strings.Join(target.scopes, " ")
	}
	if app := target.resource.app; app != nil {
		if roles := i.user.rolesOn(app); len(roles) > 0 {
			claims["roles"] = roles
		}
		t.groupClaims(claims, app, i.user)
	}
	if i.user.Home != i.tenant {
		claims["idp"] = t.sts(i.user.Home)
	}
	t.address(claims, i.tenant, req.client.ClientID, req.strength, target.resource)
	if app := target.resource.app; app != nil && !app.WithoutIDType {
		claims["idtyp"] = "user"
	}
	if target.resource.version() == 1 {
		claims["unique_name"], claims["upn"] = i.user.Username, i.user.Username
		claims["acr"], claims["amr"] = "1", []string{"pwd"}
		return claims
	}
	claims["preferred_username"] = i.user.Username
	return claims
}

// idClaims are always v2.0 here: ID tokens follow the endpoint (entra-docs:
// id-token-claims-reference).
func (t *Tenant) idClaims(req tokenRequest, i issuance) jwt.MapClaims {
	claims := t.times(time.Hour)
	claims["ver"], claims["iss"], claims["aud"] = "2.0", t.issuer(i.tenant), req.client.ClientID
	claims["sub"], claims["tid"], claims["sid"] = pairwise(i.user.ObjectID, req.client.ClientID), i.tenant, i.sid
	if i.nonce != "" {
		claims["nonce"] = i.nonce
	}
	if i.wanted.has("profile") { // oid needs profile, too
		claims["oid"], claims["name"], claims["preferred_username"] = i.user.ObjectID, i.user.Name, i.user.Username
	}
	if i.wanted.has("email") && i.user.Email != "" {
		claims["email"] = i.user.Email
	}
	if roles := i.user.rolesOn(req.client); len(roles) > 0 {
		claims["roles"] = roles
	}
	if i.user.Home != i.tenant {
		claims["idp"] = t.sts(i.user.Home)
	}
	t.groupClaims(claims, req.client, i.user)
	return claims
}

func (t *Tenant) groupClaims(claims jwt.MapClaims, app *App, u *User) {
	switch {
	case !app.GroupsClaim || u.Groups == 0:
	case u.Groups > groupLimit:
		claims["_claim_names"] = map[string]string{"groups": "src1"}
		claims["_claim_sources"] = map[string]any{"src1": map[string]string{
			"endpoint": "https://graph.windows.net/" + Contoso + "/users/" + u.ObjectID + "/getMemberObjects"}}
	default:
		var groups []string
		for n := range u.Groups {
			groups = append(groups, "90000000-0000-4000-8000-"+leftPad(strconv.Itoa(n), 12))
		}
		claims["groups"] = groups
	}
}

func leftPad(s string, n int) string { return strings.Repeat("0", n-len(s)) + s }

// sts is the v1.0 issuer, which in the public cloud lives on another host.
func (t *Tenant) sts(tenant string) string { return t.base + "/sts/" + tenant + "/" }

// pairwise: sub differs from one application to the next.
func pairwise(objectID, applicationID string) string {
	sum := sha256.Sum256([]byte(objectID + " " + applicationID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

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
		claims := t.appClaims(principal{Contoso, c.App, DerivedID("service principal", c.App), strength}, target, life)
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
