package entra

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
)

// leeway is by how much the times in tokens may differ from our clock.
const leeway = time.Minute

// TokenVersionSetting is what an administrator sets so that Entra issues tokens of
// version 2.
const TokenVersionSetting = "api.requestedAccessTokenVersion to 2 in the app registration's manifest."

// Claims is a verified ID token. TenantID and ObjectID together are the user's
// identity; names and addresses change and are not unique.
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
type Claims struct {
	TenantID string // tid, lower case
	ObjectID string // oid, lower case
	Name     string // for display
	Username string // preferred_username, for display
	// Roles are the app roles assigned to the user.
	Roles []string
	// Groups are group object ids, if the app registration asks for them.
	Groups []string
	// GroupsOverage says that the user is in more groups than a token can hold
	// (200), so that Groups is empty: use app roles instead.
	GroupsOverage bool
	Issued        time.Time
	Expires       time.Time
}

// LogValue leaves out names.
func (c *Claims) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tid", c.TenantID), slog.Any("roles", c.Roles))
}

type idToken struct {
	jwt.RegisteredClaims
	TenantID   string         `json:"tid"`
	ObjectID   string         `json:"oid"`
	Version    string         `json:"ver"`
	Nonce      string         `json:"nonce"`
	Name       string         `json:"name"`
	Username   string         `json:"preferred_username"`
	Roles      oneOrMany      `json:"roles"`
	Groups     oneOrMany      `json:"groups"`
	HasGroups  boolish        `json:"hasgroups"`
	ClaimNames map[string]any `json:"_claim_names"`
}

// oneOrMany reads a claim that is an array of strings, or one string: claims mapping
// policies write both.
type oneOrMany []string

func (m *oneOrMany) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*m = nil
		if one != "" {
			*m = oneOrMany{one}
		}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(m))
}

// boolish reads hasgroups, which is documented as a boolean and written by
// some issuers as a string.
type boolish bool

func (b *boolish) UnmarshalJSON(data []byte) error {
	*b = string(bytes.Trim(data, `"`)) == "true"
	return nil
}

// verifyIDToken checks raw as OpenID Connect Core §3.1.3.7 and Entra's rules
// for many tenants demand. nonce is nil for a renewal.
func (c *Client) verifyIDToken(ctx context.Context, raw string, nonce *string) (*Claims, error) {
	if raw == "" {
		return nil, unreachable("ID token", errors.New("the answer contains none"))
	}
	m, err := c.metadata.get(ctx)
	if err != nil {
		return nil, unreachable("metadata", err)
	}

	var t idToken
	var signer key
	var keyFault error
	_, err = jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithAudience(c.cfg.ClientID),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(c.deps.Now),
	).ParseWithClaims(raw, &t, func(token *jwt.Token) (any, error) {
		if isVersion1(t) {
			return nil, errVersion1
		}
		kid, _ := token.Header["kid"].(string)
		signer, keyFault = c.key(ctx, kid)
		return signer.public, keyFault
	})
	switch {
	case errors.Is(err, errVersion1):
		return nil, version1()
	case keyFault != nil:
		// A key that cannot be found is an outage: the user has done nothing wrong.
		return nil, unreachable("signing key", keyFault)
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return nil, refused("Microsoft Entra ID's answer is dated outside its time of validity.",
			"The administrator checks the clock of the machine this server runs on.", Misconfigured,
			fmt.Errorf("our clock is %s ahead of Entra's: %w", time.Duration(c.skew.Load()).Round(time.Second), err))
	case err != nil:
		return nil, untrusted(err)
	}
	if err := c.checkIdentity(ctx, m, signer, t, nonce); err != nil {
		return nil, err
	}
	return t.claims(), nil
}

// checkIdentity checks what only Entra's tokens have.
func (c *Client) checkIdentity(ctx context.Context, m metadata, signer key, t idToken, nonce *string) error {
	tid := strings.ToLower(t.TenantID)
	switch {
	case !isGUID(tid) || t.ObjectID == "":
		return untrusted(errors.New("the token names no tenant or no user"))
	case m.tenantID() != "" && m.tenantID() != tid:
		return untrusted(fmt.Errorf("the token's tenant is %s", tid))
	case t.Issuer != issuerOf(m.Issuer, t.TenantID):
		return untrusted(fmt.Errorf("the token's issuer is %q", t.Issuer))
	case signer.issuer != "" && issuerOf(signer.issuer, t.TenantID) != t.Issuer:
		return untrusted(fmt.Errorf("the key signs for %q, the token's issuer is %q", signer.issuer, t.Issuer))
	case t.Version != "2.0":
		return untrusted(fmt.Errorf("the token's version is %q", t.Version))
	case nonce != nil && (*nonce == "" || subtle.ConstantTimeCompare([]byte(*nonce), []byte(t.Nonce)) != 1):
		return untrusted(errors.New("the nonce is not the one that was sent"))
	case len(t.Audience) != 1:
		return untrusted(errors.New("the token has other audiences as well"))
	case t.IssuedAt == nil:
		return untrusted(errors.New("the token has no issue time"))
	}
	switch allowed, err := c.allows(ctx, m, tid); {
	case err != nil:
		return unknownTenant(err)
	case !allowed:
		return refused("Your organization is not allowed to use this server.",
			"Sign in with an account of an organization that may, or ask the administrator to allow yours (tenant "+tid+").",
			NotAllowed, nil)
	}
	return nil
}

// allows reports whether a tenant is allowed: one of the setting, or one that the
// operator has admitted beside it where the endpoint is for many. An error means
// that it is not known.
func (c *Client) allows(ctx context.Context, m metadata, tid string) (bool, error) {
	switch {
	case !c.couldAllow(m, tid):
		return false, nil
	case c.listed(m, tid):
		return true, nil
	}
	return c.deps.TenantAdmitted(ctx, tid)
}

// couldAllow is false if the tenant is not allowed whatever TenantAdmitted says,
// which it does not call.
func (c *Client) couldAllow(m metadata, tid string) bool {
	if c.cfg.Tenant == organizations && tid == consumersTenantID {
		return false
	}
	return c.listed(m, tid) || c.deps.TenantAdmitted != nil && m.tenantID() == ""
}

// listed applies the setting. Without one, only the tenant of the metadata is
// allowed; a domain stands for that tenant, too.
func (c *Client) listed(m metadata, tid string) bool {
	if len(c.cfg.AllowedTenants) == 0 {
		return m.tenantID() == tid
	}
	return slices.ContainsFunc(c.cfg.AllowedTenants, func(allowed string) bool {
		return allowed == "*" || allowed == tid || (allowed == c.cfg.Tenant && m.tenantID() == tid)
	})
}

// unknownTenant is the Error where it cannot be known whether a tenant is allowed.
func unknownTenant(cause error) *Error {
	return &Error{
		OAuth: oauth.TemporarilyUnavailable, Kind: Unavailable, RetryAfter: defaultRetry,
		Summary:  "The server cannot find out whether your organization may use it.",
		NextStep: "Try again in a minute.",
		cause:    fmt.Errorf("admitted tenants: %w", cause),
	}
}

func (t idToken) claims() *Claims {
	_, overage := t.ClaimNames["groups"]
	return &Claims{
		TenantID: strings.ToLower(t.TenantID), ObjectID: strings.ToLower(t.ObjectID),
		Name: t.Name, Username: t.Username, Roles: t.Roles, Groups: t.Groups,
		GroupsOverage: overage || bool(t.HasGroups),
		Issued:        t.IssuedAt.Time, Expires: t.ExpiresAt.Time,
	}
}

var errVersion1 = errors.New("a version 1 token")

// isVersion1 looks at claims that are not verified yet: the token is refused
// either way, and this is the reason that helps.
func isVersion1(t idToken) bool {
	return t.Version == "1.0" || strings.HasPrefix(t.Issuer, "https://sts.windows.net/") || strings.HasPrefix(t.Issuer, "https://sts.chinacloudapi.cn/")
}

func version1() *Error {
	return refused("Microsoft Entra ID issued a version 1 token, which this server does not accept.",
		"The administrator sets "+TokenVersionSetting, Misconfigured, errVersion1)
}

// untrusted is for a token that is not the one we asked for. That says nothing about
// the user's session, so no grant ends.
func untrusted(cause error) *Error {
	e := unreachable("ID token", cause)
	e.Summary = "Microsoft Entra ID's answer could not be verified, so it was not used."
	e.NextStep = "Start the sign-in again; if that does not help, tell the administrator."
	e.OAuth = oauth.ServerError
	return e
}

func refused(summary, next string, kind Kind, cause error) *Error {
	e := &Error{OAuth: oauth.AccessDenied, Kind: kind, Summary: summary, NextStep: next, cause: cause}
	if kind == Misconfigured {
		e.OAuth = oauth.ServerError
	}
	return e
}
