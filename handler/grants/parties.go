package grants

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"time"
)

// Parties are those whom a request is about. Empty fields match no block.
type Parties struct {
	ClientID     string
	DocumentHost string
	RedirectHost string
	AppID        string
	Subject      Subject
	TenantID     string
	// Granted is when what the request rests on was granted: a sign-out since
	// then ends it. Zero is now.
	Granted time.Time
}

// partyHashes are Parties as tokens and grants carry them.
type partyHashes struct{ client, documentHost, redirectHost, app, user, tenant string }

func (p Parties) hashes() partyHashes {
	return partyHashes{
		client: partyHash(tokenClientID(p.ClientID)), documentHost: partyHash(p.DocumentHost), redirectHost: partyHash(p.RedirectHost),
		app: partyHash(p.AppID), user: partyHash(string(p.Subject)), tenant: partyHash(p.TenantID),
	}
}

// TenantHash is how rows name the tenant of their user, in the member "tenant".
func TenantHash(id string) string { return partyHash(id) }

// partyHash is 96 bits of the SHA-256 of value without regard to its case, or
// empty for an empty value. Client ids are compared as they are; that two differ
// only in case and one is blocked does not happen to anybody by accident.
func partyHash(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.ToLower(value)))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// HostOf is the host of a redirect URI, or of a client id that is the URL of a
// metadata document: in lower case, without its port, and empty for what has none.
func HostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// parties are those whose block ends the grant.
func (r record) parties() partyHashes {
	return partyHashes{
		client: partyHash(tokenClientID(r.ClientID)), documentHost: partyHash(HostOf(r.ClientID)),
		redirectHost: partyHash(r.RedirectHost), user: partyHash(string(r.subject)), tenant: r.TenantHash,
	}
}
