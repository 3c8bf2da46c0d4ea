package entra

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// InvokeRole is the app role with which an application without a user may call the
// MCP endpoint.
const InvokeRole = "Mcp.Invoke"

// CallerKind says who calls with a token that Entra issued.
type CallerKind string

// The kinds of caller.
const (
	UserCaller        CallerKind = "user"        // a person, through an application
	ApplicationCaller CallerKind = "application" // a service principal or managed identity by itself
	AgentCaller       CallerKind = "agent"       // an agent identity by itself, or its own user account
)

// Caller is who an access token of Entra's was issued to.
type Caller struct {
	Kind     CallerKind
	TenantID string // tid, lower case
	// ObjectID is the user, the service principal or the agent identity.
	ObjectID string // oid, lower case
	// AppID is the application that asked for the token.
	AppID string // azp, lower case
	// Agent says that an agent acts, for a person or by itself. Blueprint is the
	// application that the agent was made from, for the log.
	Agent          bool
	Blueprint      string
	Name, Username string // for display
	Roles          []string
	// Scopes are empty for a caller without a user.
	Scopes  []string
	TokenID string // uti, as Entra's sign-in log names it
	Issued  time.Time
	Expires time.Time
	// Token is the assertion with which other APIs are called on behalf of the
	// user; empty where there is none.
	Token AccessToken
}

// ByItself reports whether the caller acts without a user: only roles say what it may
// do.
func (c Caller) ByItself() bool { return len(c.Scopes) == 0 }

// LogValue leaves out names.
func (c Caller) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", string(c.Kind)), slog.String("tid", c.TenantID), slog.String("azp", c.AppID), slog.String("uti", c.TokenID)}
	if c.Agent {
		attrs = append(attrs, slog.Bool("agent", true), slog.String("blueprint", c.Blueprint))
	}
	return slog.GroupValue(attrs...)
}

// CallerPolicy says whose tokens are accepted. The zero value accepts none.
type CallerPolicy struct {
	// AppRole is the app role that an application by itself must hold; empty
	// refuses all of them.
	AppRole string
	// Clients are the applications whose tokens for users are accepted.
	Clients []string
	// Audience is the scope that callers ask Entra for, which refusals name:
	// "api://CLIENT-ID/.default".
	Audience string
}

// Off reports whether no token of Entra's is accepted.
func (p CallerPolicy) Off() bool { return p.AppRole == "" && len(p.Clients) == 0 }

// Callers verifies access tokens that Entra issued to callers for our API. For a
// token with a known key it does no I/O, except for what Deps.TenantAdmitted does. It
// is safe for concurrent use.
type Callers struct {
	client   *Client
	policy   CallerPolicy
	verified *lru.Cache[[sha256.Size]byte, Caller]
}

// callersKept bounds how many verified tokens are kept.
const callersKept = 4096

// NewCallers verifies against c's tenant and app registration.
func NewCallers(c *Client, policy CallerPolicy) *Callers {
	cache, _ := lru.New[[sha256.Size]byte, Caller](callersKept) // fails only for a size below 1
	return &Callers{client: c, policy: policy, verified: cache}
}

// Refusal says why a caller with a token that Entra issued is refused. Reason is
// constant text for logs; Message, full sentences, tells the caller what to do.
type Refusal struct {
	Reason, Message string
	// Forbidden means that the token is valid but does not suffice: another one of
	// the same kind will not help.
	Forbidden bool
	// AppID and TenantID are set if the token is valid and only its caller is
	// refused.
	AppID, TenantID string
	cause           error
}

// Error is for the log.
func (r *Refusal) Error() string {
	if r.cause != nil {
		return "entra token: " + r.Reason + ": " + r.cause.Error()
	}
	return "entra token: " + r.Reason
}

// Unwrap returns what a library said.
func (r *Refusal) Unwrap() error { return r.cause }

// The reasons of refusals.
const (
	ReasonMalformed     = "malformed"
	ReasonVersion1      = "version 1 token"
	ReasonIssuer        = "issuer of another tenant"
	ReasonAudience      = "audience is not this server"
	ReasonExpired       = "outside its time of validity"
	ReasonSignature     = "signature or key"
	ReasonTenant        = "tenant not allowed"
	ReasonIDToken       = "ID token"
	ReasonOwnSignIn     = "issued to this server's own sign-in"
	ReasonPublicClient  = "issued to a public client"
	ReasonContradictory = "contradictory claims"
	ReasonAppsOff       = "applications are not accepted"
	ReasonNoRole        = "role is missing"
	ReasonUnlisted      = "application is not listed"
)

// LooksLikeEntra reports whether raw is a token of Entra's and not ours, by its
// header alone: ours are signed with HMAC.
func LooksLikeEntra(raw string) bool {
	first, _, found := strings.Cut(raw, ".")
	if !found || len(first) > 1024 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(first)
	var header struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
	}
	return err == nil && json.Unmarshal(text, &header) == nil && header.Algorithm == "RS256" && !strings.EqualFold(header.Type, "at+jwt")
}

// maxCallerToken is the longest token in bytes. Entra's are shorter: it leaves out
// groups that do not fit.
const maxCallerToken = 16 << 10

// Verify admits a caller to the MCP endpoint. The error is a *Refusal, or an
// *Error of kind Unavailable if Entra's keys cannot be had, or if it cannot be
// known whether the tenant is allowed.
func (c *Callers) Verify(ctx context.Context, raw string) (Caller, error) {
	return c.VerifyRole(ctx, raw, c.policy.AppRole)
}

// VerifyRole is Verify with another app role for applications without a user.
func (c *Callers) VerifyRole(ctx context.Context, raw, role string) (Caller, error) {
	caller, err := c.verify(ctx, raw)
	if err != nil {
		return Caller{}, err
	}
	switch {
	case !caller.ByItself() && slices.Contains(c.policy.Clients, caller.AppID):
		return caller, nil
	case !caller.ByItself():
		return Caller{}, &Refusal{Reason: ReasonUnlisted, AppID: caller.AppID, TenantID: caller.TenantID, Message: "This server does not accept tokens that Microsoft Entra ID issued to this application for a user. " +
			"Sign in through this server's own authorization server, or ask the operator to add the application " + caller.AppID + " to ENTRA_CLIENTS."}
	case role == "":
		return Caller{}, &Refusal{Reason: ReasonAppsOff, AppID: caller.AppID, TenantID: caller.TenantID, Message: "This server does not accept applications without a user. The operator sets ENTRA_APP_CALLERS=roles to accept those that hold the app role " + InvokeRole + "."}
	case !slices.Contains(caller.Roles, role):
		return Caller{}, &Refusal{Reason: ReasonNoRole, Forbidden: true, AppID: caller.AppID, TenantID: caller.TenantID, Message: "The application lacks the app role " + role + " of this server. " +
			"An administrator assigns it to the service principal " + caller.ObjectID + ". The platform caches a managed identity's token for up to 24 hours: only the next one has a new role."}
	}
	return caller, nil
}

// verify checks everything but what the caller may do.
func (c *Callers) verify(ctx context.Context, raw string) (Caller, error) {
	if len(raw) > maxCallerToken || strings.ContainsAny(raw, "\r\n") {
		return Caller{}, refuseToken(ReasonMalformed, errors.New("too long, or of several lines"))
	}
	now := c.client.deps.Now()
	sum := sha256.Sum256([]byte(raw))
	if caller, ok := c.verified.Get(sum); ok && now.Before(caller.Expires) {
		return caller, nil
	}
	m, err := c.client.metadata.get(ctx)
	if err != nil {
		return Caller{}, unreachable("metadata", err)
	}
	var t callerToken
	var keyFault error
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(c.client.deps.Now), jwt.WithStrictDecoding())
	_, err = parser.ParseWithClaims(raw, &t, func(token *jwt.Token) (any, error) {
		// The claims come first: checking a signature costs more, and an unknown key
		// costs a request.
		if err := c.checkClaims(m, t); err != nil {
			return nil, err
		}
		if tid := strings.ToLower(t.TenantID); !c.client.couldAllow(m, tid) {
			return nil, refuseTenant(tid)
		}
		kid, _ := token.Header["kid"].(string)
		var signer key
		if signer, keyFault = c.client.key(ctx, kid); keyFault != nil {
			return nil, keyFault
		}
		if signer.issuer != "" && issuerOf(signer.issuer, t.TenantID) != t.Issuer {
			return nil, refuseToken(ReasonSignature, errors.New("the key is another issuer's"))
		}
		return signer.public, nil
	})
	var refusal *Refusal
	switch {
	case keyFault != nil && !errors.Is(keyFault, errUnknownKey):
		return Caller{}, unreachable("signing key", keyFault)
	case errors.As(err, &refusal):
		return Caller{}, refusal
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return Caller{}, refuseToken(ReasonExpired, err)
	case errors.Is(err, jwt.ErrTokenMalformed):
		return Caller{}, refuseToken(ReasonMalformed, err)
	case err != nil:
		return Caller{}, refuseToken(ReasonSignature, err)
	case !now.Before(t.ExpiresAt.Time):
		// The leeway is for clocks that are behind, not for a longer life.
		return Caller{}, refuseToken(ReasonExpired, jwt.ErrTokenExpired)
	}
	// This comes last because it may read the table, which only a token that Entra
	// has signed may cause.
	if err := c.checkTenant(ctx, m, strings.ToLower(t.TenantID)); err != nil {
		return Caller{}, err
	}
	caller, err := c.callerOf(t, raw)
	if err == nil {
		c.verified.Add(sum, caller)
		// Once for each token: the audit names the caller at each call.
		c.client.deps.Log.InfoContext(ctx, "a token that Entra issued was verified", "caller", caller)
	}
	return caller, err
}

// callerToken is an access token of version 2.0.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type callerToken struct {
	jwt.RegisteredClaims
	TenantID  string    `json:"tid"`
	ObjectID  string    `json:"oid"`
	Version   string    `json:"ver"`
	Client    string    `json:"azp"`
	ClientACR string    `json:"azpacr"`
	ClientV1  string    `json:"appid"`
	Type      string    `json:"idtyp"`
	Scope     string    `json:"scp"`
	Roles     oneOrMany `json:"roles"`
	Nonce     string    `json:"nonce"`
	Name      string    `json:"name"`
	Username  string    `json:"preferred_username"`
	Session   string    `json:"sid"` // of a user's sign-in
	TokenID   string    `json:"uti"`
	// The facets of Agent ID.
	// https://learn.microsoft.com/entra/agent-id/identity-platform/agent-token-claims
	ActorFacets   facets `json:"xms_act_fct"`
	SubjectFacets facets `json:"xms_sub_fct"`
	Blueprint     string `json:"xms_par_app_azp"`
}

// facets are numbers separated by spaces, in any order; unknown ones are ignored.
type facets string

const (
	facetAgent     = "11" // an agent identity
	facetAgentUser = "13" // an agent's own user account
)

// UnmarshalJSON also takes a number, because a single facet may be written as one.
func (f *facets) UnmarshalJSON(data []byte) error {
	*f = facets(bytes.Trim(data, `"`))
	return nil
}

func (f facets) has(facet string) bool { return slices.Contains(strings.Fields(string(f)), facet) }

// scopes are the delegated permissions. An app-only token of an agent may have "/"
// where others have none.
func (t callerToken) scopes() []string {
	return slices.DeleteFunc(strings.Fields(t.Scope), func(s string) bool { return s == "/" })
}

// checkClaims refuses what is not an access token for this API, before the signature
// is checked.
func (c *Callers) checkClaims(m metadata, t callerToken) error {
	cfg := c.client.cfg
	tid := strings.ToLower(t.TenantID)
	switch {
	case t.Version == "1.0" || t.ClientV1 != "" || isVersion1(idToken{RegisteredClaims: t.RegisteredClaims, Version: t.Version}):
		return &Refusal{Reason: ReasonVersion1, Message: "This is a version 1 access token, which this server does not accept. The operator sets " + TokenVersionSetting}
	case t.Version != "2.0" || !isGUID(tid) || !isGUID(t.ObjectID):
		return refuseToken(ReasonMalformed, fmt.Errorf("version %q, or tid or oid is missing", t.Version))
	case m.tenantID() != "" && m.tenantID() != tid, t.Issuer != issuerOf(m.Issuer, t.TenantID):
		return refuseToken(ReasonIssuer, nil)
	case len(t.Audience) != 1 || !strings.EqualFold(t.Audience[0], cfg.ClientID):
		return &Refusal{Reason: ReasonAudience, Message: "This access token is for another API. Ask Microsoft Entra ID for the scope " + c.policy.Audience + "."}
	case t.IssuedAt == nil || t.ExpiresAt == nil:
		return refuseToken(ReasonMalformed, errors.New("iat or exp is missing"))
	case t.Nonce != "", t.Client == "" && t.ClientACR == "":
		return &Refusal{Reason: ReasonIDToken, Message: "This is an ID token. Send an access token for the scope " + c.policy.Audience + "."}
	case strings.EqualFold(t.Client, cfg.ClientID):
		return refuseToken(ReasonOwnSignIn, nil)
	case !isGUID(t.Client) || (t.ClientACR != "1" && t.ClientACR != "2"):
		return &Refusal{Reason: ReasonPublicClient, Message: "This access token was issued to a public client. Sign in through this server's own authorization server."}
	}
	return nil
}

// checkTenant refuses a tenant that is not allowed. For a token that was verified
// before this is not checked again: callers of Verify check the blocks on each call.
func (c *Callers) checkTenant(ctx context.Context, m metadata, tid string) error {
	switch allowed, err := c.client.allows(ctx, m, tid); {
	case err != nil:
		return unknownTenant(err)
	case !allowed:
		return refuseTenant(tid)
	}
	return nil
}

func refuseTenant(tid string) *Refusal {
	return &Refusal{Reason: ReasonTenant, Message: "The tenant " + tid + " is not allowed to use this server. The operator allows it with app tenants allow " + tid + "."}
}

// callerOf says who a verified token is for. An application by itself is recognized
// by idtyp or, without that optional claim, by the absence of delegated permissions.
// It cannot be recognized by oid and sub being equal: they differ in an agent's
// token.
func (c *Callers) callerOf(t callerToken, raw string) (Caller, error) {
	caller := Caller{
		Kind: UserCaller, TenantID: strings.ToLower(t.TenantID), ObjectID: strings.ToLower(t.ObjectID), AppID: strings.ToLower(t.Client),
		Agent: t.ActorFacets.has(facetAgent), Blueprint: t.Blueprint, Name: t.Name, Username: t.Username,
		Roles: t.Roles, Scopes: t.scopes(), TokenID: t.TokenID, Issued: t.IssuedAt.Time, Expires: t.ExpiresAt.Time,
	}
	byItself := len(caller.Scopes) == 0
	switch {
	case t.Type == "app" && !byItself, t.Type == "user" && byItself, t.Type != "" && t.Type != "app" && t.Type != "user":
		return Caller{}, &Refusal{Reason: ReasonContradictory, Message: "This access token names no permission of this server's API. Ask Microsoft Entra ID for the scope " + c.policy.Audience + "."}
	case t.SubjectFacets.has(facetAgent) || t.SubjectFacets.has(facetAgentUser):
		caller.Kind = AgentCaller
	case byItself:
		caller.Kind = ApplicationCaller
	}
	if byItself && (t.Username != "" || t.Session != "") {
		// It is a user's token without a permission of this API.
		return Caller{}, &Refusal{Reason: ReasonContradictory, Message: "This access token is a user's and names no permission of this server's API. Sign in through this server's own authorization server."}
	}
	if !byItself {
		caller.Token = AccessToken{secret.New(raw)}
	}
	return caller, nil
}

// Blocked is the refusal of a caller whose app, user or tenant the operator has
// blocked; what says which.
func (c Caller) Blocked(what string) *Refusal {
	return &Refusal{Reason: "blocked: " + what, AppID: c.AppID, TenantID: c.TenantID, Message: "The operator of this server has blocked this " + what + "."}
}

func refuseToken(reason string, cause error) *Refusal {
	return &Refusal{Reason: reason, Message: "The access token of Microsoft Entra ID is not valid here, or has expired.", cause: cause}
}

// OAuth is the refusal as an error of the resource server (RFC 6750 §3.1).
func (r *Refusal) OAuth() *oauth.Error {
	code := oauth.InvalidToken
	if r.Forbidden {
		code = oauth.InsufficientScope
	}
	return oauth.New(code, r.Message).Because(r)
}
