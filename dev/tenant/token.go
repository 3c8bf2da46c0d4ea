package tenant

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The grants of the token endpoint.
const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantOnBehalfOf  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantCredentials = "client_credentials"
)

// tokenRequest is a request whose client has proved who it is.
type tokenRequest struct {
	realm  realm
	client *App
	// strength is the azpacr and appidacr claim: 1 for a secret, 2 for a
	// certificate or a federated token.
	strength string
	form     url.Values
}

// token is the token endpoint.
func (t *Tenant) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pragma", "no-cache")
	if r.Method != http.MethodPost {
		t.writeRefusal(w, r, refuse(900561, "POST", r.Method))
		return
	}
	if err := r.ParseForm(); err != nil {
		t.writeRefusal(w, r, refuse(9002313))
		return
	}
	t.record("token", r.PostForm)
	t.mu.Lock()
	answer, refused := t.grant(r)
	t.mu.Unlock()
	for name, v := range answer {
		if token, ok := v.(unsigned); ok {
			signed, err := token.sign()
			if err != nil {
				refused = refuse(90006)
			}
			answer[name] = signed
		}
	}
	if refused != nil {
		t.writeRefusal(w, r, refused)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// grant holds mu for the whole request, so a code has one winner.
func (t *Tenant) grant(r *http.Request) (map[string]any, *refusal) {
	form := r.PostForm
	realm, ok := t.realm(r.PathValue("tenant"))
	if !ok {
		return nil, refuse(90002, r.PathValue("tenant"))
	}
	for name, values := range form {
		if len(values) > 1 { // RFC 6749 §3.2
			return nil, refuse(90100, name)
		}
	}
	if form.Get("grant_type") == "" {
		return nil, refuse(900144, "grant_type")
	}
	if f := t.matchResource(form); f != nil {
		return nil, f
	}
	client, strength, refused := t.authenticate(r, realm)
	if refused != nil {
		return nil, refused
	}
	// entra-docs: v2-oauth2-auth-code-flow, "Redirect URIs for single-page
	// apps": no client credentials in the presence of an Origin header.
	if origin := r.Header.Get("Origin"); origin != "" {
		return nil, refuse(9002326, origin)
	}
	req := tokenRequest{realm, client, strength, form}
	switch form.Get("grant_type") {
	case grantCode:
		return t.redeem(req)
	case grantRefresh:
		return t.refresh(req)
	case grantOnBehalfOf:
		return t.onBehalfOf(req)
	case grantCredentials:
		return t.clientCredentials(req)
	}
	return nil, refuse(70003, form.Get("grant_type"))
}

// codeLife: "Typically, they expire after about 10 minutes." (entra-docs:
// v2-oauth2-auth-code-flow). keepCodes is how long a spent one is remembered.
const (
	codeLife  = 10 * time.Minute
	keepCodes = time.Hour
)

// code is what an authorization code stands for.
type code struct {
	signIn      *session
	realm       realm
	client      *App
	redirectURI string
	nonce       string
	challenge   string
	method      string
	wanted      wanted
	issued      time.Time
	redeemed    bool
}

// forgetEvery is how often the tenant looks for what has expired. At each sign-in it
// would look through all earlier ones.
const forgetEvery = time.Minute

// forget drops the codes, browser sessions and sign-ins that are over. The caller
// holds mu.
func (t *Tenant) forget(now time.Time) {
	if now.Sub(t.forgotten) < forgetEvery {
		return
	}
	t.forgotten = now
	maps.DeleteFunc(t.codes, func(_ string, c *code) bool { return now.Sub(c.issued) > keepCodes })
	maps.DeleteFunc(t.sessions, func(_ string, s *session) bool { return now.Sub(s.at) > sessionLife })
	maps.DeleteFunc(t.signIns, func(_ string, s *session) bool { return now.Sub(s.at) > refreshLife })
}

// opaque makes an unguessable value in the form codes and refresh tokens have.
func (t *Tenant) opaque() string {
	return "1." + base64.RawURLEncoding.EncodeToString(t.bytes(32))
}

var opaqueForm = regexp.MustCompile(`^1\.[A-Za-z0-9_-]{43,}$`)

// issueCode records a code; the caller holds mu.
func (t *Tenant) issueCode(s *session, req *request) string {
	now := t.at()
	t.forget(now)
	value := t.opaque()
	t.codes[value] = &code{
		signIn: s, realm: req.realm, client: req.client, redirectURI: req.redirectURI, nonce: req.nonce,
		challenge: req.challenge, method: req.method, wanted: req.wanted, issued: now,
	}
	return value
}

// redeem is the authorization_code grant. The caller holds mu.
func (t *Tenant) redeem(req tokenRequest) (map[string]any, *refusal) {
	for _, name := range []string{"code", "redirect_uri"} {
		if req.form.Get(name) == "" {
			return nil, refuse(900144, name)
		}
	}
	value := req.form.Get("code")
	c := t.codes[value]
	switch {
	case !opaqueForm.MatchString(value):
		return nil, refuse(9002313).as("invalid_grant")
	case c == nil || c.client.ClientID != req.client.ClientID:
		return nil, refuse(70000)
	case c.redeemed:
		return nil, refuse(54005)
	case t.at().Sub(c.issued) > codeLife:
		return nil, refuse(70008)
	case c.realm.name != req.realm.name:
		return nil, refuse(700005)
	case c.redirectURI != req.form.Get("redirect_uri"):
		return nil, refuse(500112, req.form.Get("redirect_uri"))
	}
	if f := c.checkVerifier(req.form.Get("code_verifier")); f != nil {
		return nil, f
	}
	asked, refused := t.narrow(req, c.wanted)
	if refused != nil {
		return nil, refused
	}
	// Spent from here on, whatever else goes wrong.
	c.redeemed = true
	u := c.signIn.user
	if f := t.admissionOfServer(u, req.client, req.realm); f != nil {
		return nil, f.as("invalid_grant")
	}
	return t.issue(req, issuance{
		user: u, signIn: c.signIn, sid: c.signIn.sid, tenant: u.tenantAt(c.realm),
		nonce: c.nonce, authTime: c.signIn.at, wanted: asked,
	})
}

// checkVerifier is RFC 7636 §4.6; a challenge without a method is plain.
func (c *code) checkVerifier(verifier string) *refusal {
	if c.challenge == "" {
		return nil
	}
	if verifier == "" {
		return refuse(50148)
	}
	derived := verifier
	if c.method == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		derived = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if subtle.ConstantTimeCompare([]byte(derived), []byte(c.challenge)) != 1 {
		return refuse(501481)
	}
	return nil
}

// narrow applies the scope parameter of a redemption: at most one resource,
// and a subset of what the user agreed to.
func (t *Tenant) narrow(req tokenRequest, granted wanted) (wanted, *refusal) {
	raw := req.form.Get("scope")
	if raw == "" {
		if len(granted.on) > 1 {
			return wanted{}, refuse(28003)
		}
		return granted, nil
	}
	asked, refused := t.tokenScope(req.client, raw)
	if refused != nil {
		return wanted{}, refused
	}
	if len(asked.on) == 0 && len(granted.on) == 1 {
		asked.on = granted.on
	}
	// The OIDC scopes were settled at the authorize endpoint.
	asked.oidc = granted.oidc
	for _, p := range asked.on {
		i := slices.IndexFunc(granted.on, func(g permissions) bool { return g.resource.id == p.resource.id })
		if i < 0 || !subset(p.scopes, granted.on[i].scopes) {
			return wanted{}, refuse(65001, req.client.ClientID)
		}
	}
	return asked, nil
}

func subset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// refreshLife is 90 days of inactivity for everything but single-page apps
// (entra-docs: refresh-tokens, "Token lifetime").
const refreshLife = 90 * 24 * time.Hour

// refreshLifeExternal is that of an external tenant (field: one report; nothing
// documents it).
const refreshLifeExternal = 12 * time.Hour

func (t *Tenant) refreshLife() time.Duration {
	if t.external {
		return refreshLifeExternal
	}
	return refreshLife
}

// refreshToken is sealed into its own text, as Entra's are: nothing is stored,
// so a used one stays good ("doesn't revoke old refresh tokens when used",
// entra-docs: refresh-tokens). It is bound to user and client, not to a
// resource.
type refreshToken struct {
	ObjectID    string    `json:"oid"`
	Tenant      string    `json:"tid"`
	ClientID    string    `json:"client"`
	SID         string    `json:"sid"`
	Scope       string    `json:"scope"`
	Issued      time.Time `json:"issued"`
	AuthTime    time.Time `json:"auth"`
	Revocations int       `json:"revocations"`
}

func (t *Tenant) aead() cipher.AEAD {
	block, err := aes.NewCipher(t.seal)
	if err != nil {
		panic(err) // the key's length was checked when it was read or made
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (t *Tenant) sealRefresh(r refreshToken) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	aead := t.aead()
	nonce := t.bytes(aead.NonceSize())
	return "1." + base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, text, nil)), nil
}

func (t *Tenant) openRefresh(value string) (refreshToken, *refusal) {
	var r refreshToken
	if !opaqueForm.MatchString(value) {
		return r, refuse(9002313).as("invalid_grant")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(value, "1."))
	aead := t.aead()
	if err != nil || len(sealed) < aead.NonceSize() {
		return r, refuse(70000)
	}
	text, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil || json.Unmarshal(text, &r) != nil {
		return r, refuse(70000)
	}
	return r, nil
}

// refresh is the refresh_token grant. The caller holds mu.
func (t *Tenant) refresh(req tokenRequest) (map[string]any, *refusal) {
	if req.form.Get("refresh_token") == "" {
		return nil, refuse(900144, "refresh_token")
	}
	r, refused := t.openRefresh(req.form.Get("refresh_token"))
	if refused != nil {
		return nil, refused
	}
	u := t.userByID(r.ObjectID)
	switch {
	case !strings.EqualFold(r.ClientID, req.client.ClientID):
		return nil, refuse(70000)
	case u == nil:
		return nil, refuse(50034, r.ObjectID)
	case t.at().Sub(r.Issued) > t.refreshLife():
		return nil, refuse(700082, r.Issued.UTC().Format(time.RFC3339))
	case r.Revocations != u.revocations:
		return nil, refuse(50173)
	case t.faults.usedRefresh[req.form.Get("refresh_token")]:
		return nil, refuse(70000)
	}
	if t.faults.usedRefresh != nil {
		t.faults.usedRefresh[req.form.Get("refresh_token")] = true
	}
	if f := t.admissionOfServer(u, req.client, realm{r.Tenant, r.Tenant}); f != nil {
		return nil, f.as("invalid_grant")
	}
	if f := t.policy(u, r.SID); f != nil {
		return nil, f.as("invalid_grant") // field: MSAL reads the suberror here
	}
	granted, refused := t.parseScope(req.client, r.Scope)
	if refused != nil {
		return nil, refused
	}
	asked := granted
	if raw := req.form.Get("scope"); raw != "" {
		if asked, refused = t.tokenScope(req.client, raw); refused != nil {
			return nil, refused
		}
		asked.oidc = granted.oidc
	} else if len(granted.on) > 0 && granted.on[0].resource.id == req.client.ClientID {
		// field: without scope Entra takes the calling app itself for the
		// resource, by its App ID URI.
		return nil, refuse(90009, req.client.ClientID)
	}
	if missing := t.unconsented(u, req.client, asked); !missing.empty() {
		return nil, refuse(65001, req.client.ClientID)
	}
	return t.issue(req, issuance{
		user: u, signIn: t.signIns[r.SID], sid: r.SID, tenant: r.Tenant, authTime: r.AuthTime, wanted: asked,
	})
}

// policy is what conditional access wants of a grant that is used without the
// user being there: a factor or a claims request that the sign-in had. A
// sign-in from before a restart had none. The caller holds mu.
func (t *Tenant) policy(u *User, sid string) *refusal {
	s := t.signIns[sid]
	if s == nil {
		s = &session{user: u}
	}
	if u.MFA && !s.mfa {
		return refuse(u.factorCode()).demanding(u.Challenge)
	}
	if u.Challenge != "" && !s.satisfies(u.Challenge) {
		return refuse(u.factorCode()).demanding(u.Challenge)
	}
	return nil
}

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
	access, err := t.compose(t.appClaims(principal{
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
