package tenant

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// refreshLife is 90 days of inactivity for everything but single-page apps
// (entra-docs: refresh-tokens, "Token lifetime").
const refreshLife = 90 * 24 * time.Hour

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
	case t.at().Sub(r.Issued) > refreshLife:
		return nil, refuse(700082, r.Issued.UTC().Format(time.RFC3339))
	case r.Revocations != u.revocations:
		return nil, refuse(50173)
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
