package grants

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/secret"
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

// GrantPrefix begins the partitions of grants: one for each user.
const GrantPrefix = "g-"

func (s Subject) partition() string { return GrantPrefix + string(s) }

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

// Entra's tokens, which never reach a client.
type (
	// EntraRefreshToken renews the sign-in at Entra.
	EntraRefreshToken struct{ secret.Value }
	// EntraAccessToken is for the API scope of our own app registration: the
	// assertion of on-behalf-of requests.
	EntraAccessToken struct{ secret.Value }
)

// Upstream is what Entra gave us for the user.
type Upstream struct {
	RefreshToken    EntraRefreshToken
	APIToken        EntraAccessToken
	APITokenExpires time.Time
}

// replacing returns u with the refresh token of old if u has none: then the old
// one stays valid (RFC 6749 §6).
func (u Upstream) replacing(old Upstream) Upstream {
	if u.RefreshToken.IsZero() {
		u.RefreshToken = old.RefreshToken
	}
	return u
}

// LogValue says which tokens there are.
func (u Upstream) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("refresh_token", !u.RefreshToken.IsZero()),
		slog.Bool("api_token", !u.APIToken.IsZero()), slog.Time("api_token_expires", u.APITokenExpires))
}

// Grant is one user's sign-in for one client.
type Grant struct {
	ID       string
	Subject  Subject
	ClientID string
	// ClientName is what the client calls itself; Verified says that the name
	// belongs to the host of its metadata document, DocumentHost.
	ClientName   string
	Verified     bool
	DocumentHost string
	RedirectHost string
	Scopes       oauth.Scopes
	// Identity is empty in listings of more than one user's grants.
	Identity Identity
	Created  time.Time
	// LastUsed is when the code was redeemed or a refresh token last rotated.
	LastUsed time.Time

	// Assertion stands in for a grant that is in the table: the token of
	// Entra's with which a caller came, until AssertionExpires.
	Assertion        EntraAccessToken
	AssertionExpires time.Time

	sealed string
	etag   store.ETag
}

// LogValue names the grant and leaves out who the user is.
func (g Grant) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", g.ID), slog.String("subject", string(g.Subject)),
		slog.String("client_id", g.ClientID))
}

// What clients hold.
type (
	// Code is an authorization code (RFC 6749 §4.1.2).
	Code struct{ secret.Value }
	// RefreshToken is a refresh token (RFC 6749 §1.5).
	RefreshToken struct{ secret.Value }
	// AccessToken is a JWT access token (RFC 9068).
	AccessToken struct{ secret.Value }
)

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
