package clients

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// The kinds of client_id. None begins with https://, which is what tells the
// URL of a metadata document from an id given here (the draft, §7.1).
const (
	publicPrefix   = "p-" // SHA-256 of the metadata
	secretPrefix   = "s-" // random
	operatorPrefix = "o-" // random, made by the operator
)

var idPattern = regexp.MustCompile(`^(p-[A-Za-z0-9_-]{43}|s-[A-Za-z0-9_-]{22,24}|o-[A-Za-z0-9_-]{22})$`)

const (
	// RegistrationPrefix begins the names of the partitions of registrations, followed
	// by two characters of the ID.
	RegistrationPrefix = "c-"
	// OperatorPartition holds the clients that the operator made, to be listed.
	OperatorPartition = "operator-clients"
)

func partition(id string) string {
	if id[:2] == operatorPrefix {
		return OperatorPartition
	}
	return RegistrationPrefix + id[2:4]
}

// recordVersion is the newest form of a record. Version 0 is one without a
// version. Members that are added are optional, so each version reads the others.
const recordVersion = 1

// record is what the table holds of a client that has no document. Its expiry
// is the row's.
type record struct {
	Version  int        `json:"v,omitempty"`
	Metadata metadata   `json:"metadata"`
	IssuedAt int64      `json:"issued_at"`
	Secret   secretHash `json:"secret,omitempty"`
	// Previous is valid beside Secret until PreviousUntil (Unix time).
	Previous      secretHash `json:"previous_secret,omitempty"`
	PreviousUntil int64      `json:"previous_secret_until,omitempty"`
	WithoutPKCE   bool       `json:"without_pkce,omitempty"`
}

func (rec record) encode() ([]byte, error) {
	rec.Version = recordVersion
	value, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	if len(value) > maxRecord {
		return nil, oauth.New(oauth.InvalidClientMetadata, fmt.Sprintf("The client metadata is longer than %d bytes.", maxRecord))
	}
	return value, nil
}

// read returns the client, expired or not, or store.ErrNotFound.
func (r *Registry) read(ctx context.Context, id string) (Client, error) {
	if !idPattern.MatchString(id) {
		return Client{}, store.ErrNotFound
	}
	row, err := r.table.Get(ctx, partition(id), id)
	if err != nil {
		return Client{}, err
	}
	return r.decode(row)
}

// decode makes a client of its row. The checks of a registration apply to earlier
// registrations too.
func (r *Registry) decode(row store.Row) (Client, error) {
	var rec record
	if err := json.Unmarshal(row.Value, &rec); err != nil {
		return Client{}, fmt.Errorf("client record %s: %w", row.Key, err)
	}
	c := r.client(row.Key, rec.Metadata)
	c.AuthMethods = []string{rec.Metadata.AuthMethod}
	c.record, c.row = rec, row
	if row.Partition == OperatorPartition {
		c.Source = SourceOperator
		c.RedirectURIs, _ = RedirectPolicy{}.Filter(rec.Metadata.RedirectURIs)
		c.WithoutPKCE = rec.WithoutPKCE && !c.Public()
	}
	return c, nil
}

// client makes a client of the metadata of a record or document. The redirect policy
// and the rules for names are applied again, so that a change of either takes effect
// at once.
func (r *Registry) client(id string, m metadata) Client {
	c := Client{
		ID: id, Name: sanitizeName(m.Name), URI: m.URI, ApplicationType: m.ApplicationType,
		GrantTypes: m.GrantTypes, ResponseTypes: m.ResponseTypes, policy: r.policy,
		keys: keySource{set: m.JWKS, url: m.JWKSURI}, signingAlg: m.SigningAlg, registered: m,
	}
	if c.Name == "" {
		c.Name = "Unnamed client"
	}
	c.RedirectURIs, _ = r.policy.Filter(m.RedirectURIs)
	return c
}

// expiry is in whole seconds, as the store wants it.
func expiry(now time.Time, life time.Duration) time.Time {
	return now.Add(life).UTC().Truncate(time.Second)
}

// extend moves the expiry of a record, if the row has not changed meanwhile.
func (r *Registry) extend(ctx context.Context, c Client, life time.Duration) (Client, error) {
	row := c.row
	row.Expires = expiry(r.now(), life)
	return r.replace(ctx, row)
}

func (r *Registry) replace(ctx context.Context, row store.Row) (Client, error) {
	etag, err := r.table.Replace(ctx, row)
	if err != nil {
		r.cache.Remove(row.Key)
		return Client{}, err
	}
	row.ETag = etag
	c, err := r.decode(row)
	if err == nil {
		r.cacheClient(c)
	}
	return c, err
}

// Secret is a client_secret: 32 random bytes in base64url. It is shown once,
// in the answer to the registration, or to the operator.
type Secret struct{ secret.Value }

func newSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b) // never fails: the program ends instead
	return Secret{secret.New(base64.RawURLEncoding.EncodeToString(b))}
}

// secretHash is the SHA-256 of a secret. A slow hash protects passwords, which can be
// guessed; 256 random bits cannot, and a slow hash would cost time on every request
// of the token endpoint.
type secretHash []byte

func hashSecret(s Secret) secretHash {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return sum[:]
}

// matches compares in constant time. No secret matches the hash of a client
// that has none.
func (h secretHash) matches(s Secret) bool {
	return len(h) == sha256.Size && subtle.ConstantTimeCompare(h, hashSecret(s)) == 1
}

// accepts reports whether s is a secret of the client at this moment.
func (rec record) accepts(s Secret, now time.Time) bool {
	return rec.Secret.matches(s) || (now.Unix() < rec.PreviousUntil && rec.Previous.matches(s))
}
