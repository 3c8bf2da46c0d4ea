// Package clients knows who an OAuth client is: one that registered itself
// (RFC 7591), one whose client_id is the URL of its metadata document
// (draft-ietf-oauth-client-id-metadata-document, "the draft" below), or one
// that the operator made. It holds the policy of redirect URIs and
// authenticates clients at the token endpoint.
//
// Four words have one meaning each here. Metadata are what describes a client
// (RFC 7591 §2). A document is the JSON at a client_id that is a URL. A record
// is what the table holds of a client. A secret is a client_secret.
package clients

import (
	"net/url"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

// Source says where a client's metadata come from.
type Source int

const (
	// SourceRegistered: the client sent them to the registration endpoint, as
	// anybody could have.
	SourceRegistered Source = iota
	// SourceFetched: from the document at the client_id.
	SourceFetched
	// SourcePinned: from the operator's copy of that document.
	SourcePinned
	// SourceBuiltIn: from the copy that ships with the server, because the document
	// cannot be fetched. Nothing shows that it is what its host publishes now.
	SourceBuiltIn
	// SourceOperator: the operator made the client.
	SourceOperator
)

// Client is one OAuth client, as it is known at this moment. Every check of a
// registration is made again when it is read: RedirectURIs hold only what the
// redirect policy accepts today, whatever it accepted when the client registered. Its
// slices are shared and must not be changed.
type Client struct {
	ID string
	// Name is the sanitized client_name. It is what the client says of itself.
	Name string
	// URI is the client's home page as it says, or empty.
	URI string
	// Host serves the client's metadata document, with the port if that is not
	// 443. It is empty for a client without a document.
	Host            string
	Source          Source
	ApplicationType string
	RedirectURIs    []string
	// AuthMethods are the token endpoint authentication methods open to
	// the client. Only a metadata document can name more than one.
	AuthMethods   []string
	GrantTypes    []string
	ResponseTypes []string
	// WithoutPKCE permits an authorization without code_challenge. Only a client with
	// a secret that the operator made can have it. redirect_uri is then required at
	// the token endpoint, and a challenge that is sent must be met.
	WithoutPKCE bool

	policy     RedirectPolicy
	keys       keySource
	signingAlg string // the only one, if it is not empty
	registered metadata
	record     record
	row        store.Row
	document   *cachedCopy

	// What Authenticate leaves for Consume and Touch.
	assertion *jwt.RegisteredClaims
	keySet    *cachedCopy
}

// The methods of token endpoint authentication (RFC 7591 §2, RFC 7523 §2.2).
const (
	AuthNone          = "none"
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// AuthMethods are the methods to advertise (RFC 8414 §2). Some clients, such as the
// C# SDK, take the first one whether they have a secret or not, so those with a
// secret come first; Claude and the TypeScript SDK use metadata documents only where
// none is listed.
func AuthMethods() []string {
	return []string{AuthSecretPost, AuthSecretBasic, AuthPrivateKeyJWT, AuthNone}
}

// GrantTypes are the grants a client can register, in the order advertised.
func GrantTypes() []string { return []string{"authorization_code", "refresh_token"} }

// Allows reports whether redirectURI is registered. URIs are compared as strings (RFC
// 9700 §2.1), except for the port of http loopback URIs, which a native app picks
// when it starts (RFC 8252 §7.3). Public clients, which native apps are, may also use
// another name of loopback than the registered one.
func (c Client) Allows(redirectURI string) bool {
	return slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		return sameRedirect(registered, redirectURI, c.Public())
	})
}

// Trusted reports whether the operator vouches for redirectURI, one that c
// Allows: by making the client, by pinning its document or by listing the URI.
func (c Client) Trusted(redirectURI string) bool {
	return c.Source == SourceOperator || c.Source == SourcePinned || c.policy.lists(redirectURI)
}

// LeavesHost reports whether redirectURI is on another host than the client's
// metadata document, which then says nothing about who gets the code (the
// draft, §8.1).
func (c Client) LeavesHost(redirectURI string) bool {
	u, err := url.Parse(redirectURI)
	return c.Host != "" && (err != nil || (u.Scheme == "https" && withoutDefaultPort(u.Host) != c.Host))
}

// MayRedirectUnasked reports whether a browser may be taken to redirectURI, one that
// c Allows, without a click. Anyone can register a client for any web site, so only a
// site that the operator trusts may; a server on loopback shows no page of another
// site. An app's own scheme never may: opening it can make the app do something.
func (c Client) MayRedirectUnasked(redirectURI string) bool {
	if isLoopbackURI(redirectURI) {
		return true
	}
	u, err := url.Parse(redirectURI)
	return err == nil && u.Scheme == "https" && c.Trusted(redirectURI)
}

// Audit is how the events of the audit name the client. The host is that of its
// document or, without one, of redirectURI, which may be empty.
func (c Client) Audit(redirectURI string) observe.AuditClient {
	host := c.Host
	if u, err := url.Parse(redirectURI); host == "" && err == nil {
		host = u.Host
	}
	return observe.AuditClient{ID: c.ID, Name: c.Name, Host: host}
}

// Public reports whether the client may come without authentication.
func (c Client) Public() bool { return slices.Contains(c.AuthMethods, AuthNone) }

func (c Client) expired(now time.Time) bool {
	return !c.row.Expires.IsZero() && !now.Before(c.row.Expires)
}

func unknownClient(description string) *oauth.Error {
	return oauth.New(oauth.InvalidClient, description)
}
