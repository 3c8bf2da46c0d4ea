package grants

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Subject names a user without saying who it is: the hex SHA-256 of tenant and
// object id. It is the sub of access tokens and the partition of the grants.
type Subject string

// SubjectOf is the subject of a user. An object id alone identifies nobody: it
// is unique within its tenant only.
func SubjectOf(tenantID, objectID string) Subject {
	sum := sha256.Sum256([]byte(strings.ToLower(tenantID) + "/" + strings.ToLower(objectID)))
	return Subject(hex.EncodeToString(sum[:]))
}

func (s Subject) partition() string { return "g-" + string(s) }

// Identity is the user as Entra described them at sign-in, or at the last
// renewal.
type Identity struct {
	TenantID string   `json:"tid"`
	ObjectID string   `json:"oid"`
	Name     string   `json:"name,omitempty"`
	Username string   `json:"username,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

// LogValue leaves out who the user is.
func (i Identity) LogValue() slog.Value {
	return slog.StringValue(string(SubjectOf(i.TenantID, i.ObjectID)))
}

// Upstream is what Entra gave us for the user. It never reaches a client.
type Upstream struct {
	RefreshToken    string    `json:"rt,omitempty"`
	APIToken        string    `json:"at,omitempty"`
	APITokenExpires time.Time `json:"exp,omitzero"`
}

// over is u in the place of old: without a new refresh token the old one stays
// good (RFC 6749 §6).
func (u Upstream) over(old Upstream) Upstream {
	if u.RefreshToken == "" {
		u.RefreshToken = old.RefreshToken
	}
	return u
}

// LogValue hides the tokens from slog.
func (u Upstream) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("refresh_token", u.RefreshToken != ""),
		slog.Bool("api_token", u.APIToken != ""), slog.Time("api_token_expires", u.APITokenExpires))
}

// String hides the tokens from fmt.
func (Upstream) String() string { return redacted }

// GoString hides the tokens from %#v.
func (Upstream) GoString() string { return redacted }

// MarshalText hides the tokens from encoders, as in a struct that is logged.
// Only the sealed part of a grant encodes them.
func (Upstream) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Grant is one user's sign-in for one client.
type Grant struct {
	ID       string
	Subject  Subject
	ClientID string
	Scopes   oauth.Scopes
	Identity Identity
	Created  time.Time
	// LastUsed is when the code was redeemed or a refresh token last rotated.
	LastUsed time.Time

	sealed string
	etag   store.ETag
}

// LogValue names the grant and leaves out who the user is.
func (g Grant) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", g.ID), slog.String("subject", string(g.Subject)),
		slog.String("client_id", g.ClientID))
}

// Tokens are what the token endpoint answers with (RFC 6749 §5.1).
type Tokens struct {
	Access    AccessToken
	Refresh   RefreshToken
	ExpiresIn time.Duration
	// Scopes are those of the access token.
	Scopes oauth.Scopes
	Grant  Grant
}

// LogValue leaves only the grant.
func (t Tokens) LogValue() slog.Value { return t.Grant.LogValue() }
