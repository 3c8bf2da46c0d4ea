package grants

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// AccessKey is the key of the SDK's auth.TokenInfo.Extra under which the bearer
// check leaves the *Access of a request and tools find it.
const AccessKey = "entramcp.access"

// Access is what a valid access token says. It is shared between requests and
// must not be modified.
type Access struct {
	Subject Subject
	GrantID string
	// ClientID is the client's id, or the SHA-256 in base64url of one that is
	// longer than 128 characters.
	ClientID string
	TenantID string
	// ID is the token's jti.
	ID      string
	Scopes  oauth.Scopes
	Roles   []string
	Issued  time.Time
	Expires time.Time
	// Kind and Identity are set for callers with a token that Entra issued, who have no
	// grant: they are from that token. Assertion is that token if it is a user's, for
	// calling other APIs on behalf of the user.
	Kind      CallerKind
	Identity  *Identity
	Assertion EntraAccessToken

	granted time.Time // when the grant was made
	parties partyHashes
}

// CallerKind says on whose behalf a call is made. The zero value is a user.
type CallerKind string

// The kinds of callers.
const (
	User        CallerKind = ""
	Application CallerKind = "application" // by itself, with an app role
	Agent       CallerKind = "agent"       // an agent identity by itself, or its own user account
)

// String names the kind.
func (k CallerKind) String() string {
	if k == User {
		return "user"
	}
	return string(k)
}

// maxClientID is the longest client id that access tokens carry as it is.
const maxClientID = 128

// tokenClientID is how access tokens name a client.
func tokenClientID(id string) string {
	if len(id) <= maxClientID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// claims are those of RFC 9068 §2.2, the grant, and the tenant. Names and mail
// addresses stay out: access tokens end up in logs.
type claims struct {
	Issuer   string   `json:"iss"`
	Audience string   `json:"aud"`
	Subject  Subject  `json:"sub"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	Roles    []string `json:"roles,omitempty"`
	GrantID  string   `json:"gid"`
	TenantID string   `json:"tid,omitempty"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	ID       string   `json:"jti"`
	// AuthTime is when the grant was made (RFC 9068 §2.2.1). A token of an
	// earlier version, which has none, is older than every sign-out. The hashes
	// name the hosts of the client's metadata document and redirect URI.
	AuthTime     int64  `json:"auth_time,omitempty"`
	DocumentHost string `json:"dh,omitempty"`
	RedirectHost string `json:"rh,omitempty"`
}

func (c *claims) GetIssuer() (string, error)              { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)             { return string(c.Subject), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)  { return jwt.ClaimStrings{c.Audience}, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)  { return date(c.IssuedAt), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) {
	return date(c.Expires), nil
}

// A claim that is absent is a date of 1970.
func date(unix int64) *jwt.NumericDate { return jwt.NewNumericDate(time.Unix(unix, 0)) }

// tokenType is the media type of RFC 9068 §2.1. No other token of ours has it.
const tokenType = "at+jwt"

func newParser(issuer, audience string, now func() time.Time) *jwt.Parser {
	return jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now), jwt.WithStrictDecoding())
}

// ManageRole is Entra's app role of managers of connections. No access token
// carries it: what an administrator may do on a page of this server, no MCP client
// does for them.
const ManageRole = "Mcp.Connections.Manage"

func rolesInToken(roles []string) []string {
	return slices.DeleteFunc(slices.Clone(roles), func(role string) bool { return role == ManageRole })
}

// mint makes an access token and the refresh token of r's generation. No I/O
// once the key ring is loaded.
func (s *Service) mint(ctx context.Context, r record, identity Identity, scopes oauth.Scopes) (Tokens, error) {
	kid, key, err := s.ring.Signing(ctx, keyring.AccessToken)
	if err != nil {
		return Tokens{}, unavailable(err)
	}
	now := s.now()
	lifetime := s.accessLifetime
	if end := s.endOf(r); !end.IsZero() {
		lifetime = min(lifetime, end.Sub(now))
	}
	parties := r.parties()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		Issuer: s.issuer, Audience: string(s.resource), Subject: r.subject, ClientID: tokenClientID(r.ClientID),
		Scope: scopes.String(), Roles: rolesInToken(identity.Roles), GrantID: r.id, TenantID: identity.TenantID,
		IssuedAt: now.Unix(), Expires: now.Add(lifetime).Unix(), ID: oauth.RandomID(),
		AuthTime: r.Created.Unix(), DocumentHost: parties.documentHost, RedirectHost: parties.redirectHost,
	})
	token.Header["typ"], token.Header["kid"] = tokenType, kid
	access, err := token.SignedString(key)
	if err != nil {
		return Tokens{}, unavailable(err)
	}
	tokens := Tokens{Access: AccessToken{secret.New(access)}, ExpiresIn: lifetime, Scopes: scopes, Grant: r.grant(identity)}
	if r.WithoutRefresh {
		return tokens, nil
	}
	refresh, err := s.sealHandle(ctx, keyring.RefreshHandle, r, s.refreshLifetime)
	if err != nil {
		return Tokens{}, unavailable(err)
	}
	tokens.Refresh = RefreshToken{secret.New(refresh)}
	return tokens, nil
}

// Verify decides about a bearer token: invalid_token, or 503 if the keys or the
// list of revocations cannot be had. What a token says is cached; whether it has
// expired or been revoked is asked each time. It does no storage I/O while Run keeps the list current, unless a
// recheck is overdue; a list older than MaxStale is read again first.
func (s *Service) Verify(ctx context.Context, raw string) (*Access, error) {
	s.noteRequest()
	key := sha256.Sum256([]byte(raw))
	access, ok := s.verified.Get(key)
	if ok && s.revoked.staleAt(s.now()) {
		if err := s.ensureCurrent(ctx); err != nil {
			return nil, err
		}
		access, ok = s.verified.Get(key) // a key may have been retired
	}
	if ok {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
		var err error
		if access, err = s.parseAndCache(ctx, key, raw); err != nil {
			return nil, err
		}
	}
	if !s.now().Before(access.Expires) {
		return nil, invalid(jwt.ErrTokenExpired)
	}
	if err := s.ensureCurrent(ctx); err != nil {
		return nil, err
	}
	_, blocked := s.blocks.Load().find(access.parties, access.granted)
	if blocked || s.revoked.hasToken(access.GrantID, access.Issued) {
		return nil, invalid(errRevoked)
	}
	if !s.named(access.parties.tenant) {
		return nil, invalid(errTenant)
	}
	if err := s.ensureConfirmed(ctx, access); err != nil {
		return nil, err
	}
	return access, nil
}

func (s *Service) parseAndCache(ctx context.Context, key [32]byte, raw string) (*Access, error) {
	keys := s.keyChanges.Load()
	access, err := s.parse(ctx, raw)
	if err != nil {
		return nil, err
	}
	s.verified.Add(key, access)
	if s.keyChanges.Load() != keys {
		s.verified.Remove(key) // perhaps verified with a key that was retired meanwhile
	}
	return access, nil
}

// forgetVerified empties the cache, so that every token is verified with the current
// keys.
func (s *Service) forgetVerified() {
	s.keyChanges.Add(1)
	s.verified.Purge()
}

// maxToken is the longest access token that is parsed, in bytes. This server's are
// shorter.
const maxToken = 8 << 10

// parse checks everything that the token alone can say.
func (s *Service) parse(ctx context.Context, raw string) (*Access, error) {
	// The base64 decoder skips line breaks; a token has one spelling only.
	if len(raw) > maxToken || strings.ContainsAny(raw, "\r\n") {
		return nil, invalid(errMalformed)
	}
	var c claims
	var keys error // why there is no key, when it is not the token's fault
	_, err := s.parser.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if t.Header["typ"] != tokenType || kid == "" {
			return nil, errMalformed
		}
		key, err := s.ring.Verifying(ctx, keyring.AccessToken, kid, time.Unix(c.IssuedAt, 0))
		if err != nil && !errors.Is(err, keyring.ErrNotOurs) {
			keys = err
		}
		return key, err
	})
	// Revocations are kept for as long as a token lives by our own settings:
	// one that was issued for longer, before those changed, must not outlive
	// what is known about it.
	expires := min(c.Expires, c.IssuedAt+int64(s.accessLifetime/time.Second))
	switch {
	case keys != nil:
		return nil, unavailable(keys)
	case err != nil:
		return nil, invalid(err)
	case s.now().Unix() >= expires:
		// The leeway is for iat. An instance that is ahead refuses a token
		// early, and its client refreshes; one that is believed for longer
		// than was announced helps only who has stolen it.
		return nil, invalid(jwt.ErrTokenExpired)
	}
	return &Access{
		Subject: c.Subject, GrantID: c.GrantID, ClientID: c.ClientID, TenantID: c.TenantID, ID: c.ID,
		Scopes: oauth.ParseScopes(c.Scope), Roles: rolesInToken(c.Roles),
		Issued: time.Unix(c.IssuedAt, 0).UTC(), Expires: time.Unix(expires, 0).UTC(),
		granted: time.Unix(c.AuthTime, 0).UTC(),
		parties: partyHashes{
			client: partyHash(c.ClientID), documentHost: c.DocumentHost, redirectHost: c.RedirectHost,
			user: partyHash(string(c.Subject)), tenant: partyHash(c.TenantID),
		},
	}, nil
}

// invalid has the same text for every access token that is refused; the reason is in
// the log.
func invalid(cause error) error {
	return oauth.New(oauth.InvalidToken, "The access token is invalid, expired or revoked.").Because(cause)
}
