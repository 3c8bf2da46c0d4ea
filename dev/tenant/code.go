package tenant

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"regexp"
	"slices"
	"time"
)

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

// opaque makes an unguessable value in the form codes and refresh tokens have.
func (t *Tenant) opaque() string {
	return "1." + base64.RawURLEncoding.EncodeToString(t.bytes(32))
}

var opaqueForm = regexp.MustCompile(`^1\.[A-Za-z0-9_-]{43,}$`)

// issueCode records a code; the caller holds mu.
func (t *Tenant) issueCode(s *session, req *request) string {
	now := t.at()
	for value, c := range t.codes {
		if now.Sub(c.issued) > keepCodes {
			delete(t.codes, value)
		}
	}
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
