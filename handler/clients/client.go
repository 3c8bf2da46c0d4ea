// Package clients knows who an OAuth client is: one that registered itself
// (RFC 7591) or one whose client_id is the URL of its metadata document
// (draft-ietf-oauth-client-id-metadata-document). It holds the policy of
// redirect URIs and authenticates clients at the token endpoint.
package clients

import (
	"slices"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Client is one OAuth client, as it is known at this moment. RedirectURIs hold
// only what the redirect policy accepts today, whatever it accepted when the
// client registered. Its slices are shared and not to be changed.
type Client struct {
	ID string
	// Name is the sanitised client_name. It is what the client says of
	// itself; only VerifiedHost is proven.
	Name string
	// URI is the client's home page as it says, or empty.
	URI string
	// VerifiedHost is the host that serves the client's metadata document.
	// It is empty for a client that registered itself.
	VerifiedHost    string
	ApplicationType string
	RedirectURIs    []string
	// AuthMethods are the token endpoint authentication methods open to
	// the client. Only a metadata document can name more than one.
	AuthMethods   []string
	GrantTypes    []string
	ResponseTypes []string

	listed     bool // RedirectURIs are the operator's choice
	keys       keySource
	registered metadata
	issuedAt   int64
	secret     secretHash
	row        store.Row
}

// The methods of token endpoint authentication (RFC 7591 §2, RFC 7523 §2.2).
const (
	AuthNone          = "none"
	AuthSecretBasic   = "client_secret_basic"
	AuthSecretPost    = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// AuthMethods are the methods to advertise (RFC 8414 §2). Claude and the
// TypeScript SDK use metadata documents only where none is listed.
func AuthMethods() []string {
	return []string{AuthNone, AuthSecretPost, AuthSecretBasic, AuthPrivateKeyJWT}
}

// GrantTypes are the grants a client can register, in the order advertised.
func GrantTypes() []string { return []string{"authorization_code", "refresh_token"} }

// Allows reports whether redirectURI is registered. The comparison is of plain
// strings (RFC 9700 §2.1), but for the port of an http loopback URI, which a
// native app picks when it starts (RFC 8252 §7.3). localhost, 127.0.0.1 and
// [::1] are three different hosts.
func (c Client) Allows(redirectURI string) bool {
	for _, registered := range c.RedirectURIs {
		if sameRedirect(registered, redirectURI) {
			return true
		}
	}
	return false
}

// MayRedirectUnasked reports whether a browser may be taken to redirectURI, one
// that c Allows, without the person's consent. Anyone can register a client for
// any web site, so only a site that the operator has listed or pinned may; an
// app on the person's own machine is no page that could pose as another.
func (c Client) MayRedirectUnasked(redirectURI string) bool { return c.listed || isNative(redirectURI) }

// Public reports whether the client may come without authentication.
func (c Client) Public() bool { return slices.Contains(c.AuthMethods, AuthNone) }

func (c Client) expired(now time.Time) bool {
	return !c.row.Expires.IsZero() && !now.Before(c.row.Expires)
}

func unknownClient(description string) *oauth.Error {
	return oauth.New(oauth.InvalidClient, description)
}
