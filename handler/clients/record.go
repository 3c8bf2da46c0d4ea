package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"entramcp/handler/store"
)

// The kinds of client_id. None begins with https://, which is what tells a
// metadata document's URL from an id given here.
const (
	publicPrefix = "p-" // SHA-256 of the metadata
	secretPrefix = "s-" // random
)

var idPattern = regexp.MustCompile(`^(p-[A-Za-z0-9_-]{43}|s-[A-Za-z0-9_-]{24})$`)

// record is the stored form of a registration.
type record struct {
	Metadata metadata   `json:"metadata"`
	IssuedAt int64      `json:"issued_at"`
	Secret   secretHash `json:"secret,omitempty"`
}

// read returns the registration, expired or not, or store.ErrNotFound.
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

func (r *Registry) decode(row store.Row) (Client, error) {
	var rec record
	if err := json.Unmarshal(row.Value, &rec); err != nil {
		return Client{}, fmt.Errorf("client record %s: %w", row.Key, err)
	}
	c := r.client(row.Key, rec.Metadata)
	c.AuthMethods = []string{rec.Metadata.AuthMethod}
	c.secret, c.row, c.issuedAt = rec.Secret, row, rec.IssuedAt
	return c, nil
}

// client is what registrations and documents have in common. The policy is
// applied again, so that an operator who tightens it is obeyed at once.
func (r *Registry) client(id string, m metadata) Client {
	c := Client{
		ID: id, Name: m.Name, URI: m.URI, ApplicationType: m.ApplicationType,
		GrantTypes: m.GrantTypes, ResponseTypes: m.ResponseTypes,
		keys: keySource{set: m.JWKS, url: m.JWKSURI}, registered: m, listed: r.policy.patterns != nil,
	}
	if c.Name == "" {
		c.Name = "Unnamed client"
	}
	c.RedirectURIs, _ = r.policy.Filter(m.RedirectURIs)
	return c
}

// RegistrationPrefix begins the partitions of registrations.
const RegistrationPrefix = "c-"

func partition(id string) string { return RegistrationPrefix + id[2:4] }

// expiry is in whole seconds, as the store wants it.
func expiry(now time.Time, life time.Duration) time.Time {
	return now.Add(life).UTC().Truncate(time.Second)
}

// extend gives a registration another term, if it has not changed meanwhile.
func (r *Registry) extend(ctx context.Context, c Client, life time.Duration) (Client, error) {
	row := c.row
	row.Expires = expiry(r.now(), life)
	etag, err := r.table.Replace(ctx, row)
	if err != nil {
		r.cache.Remove(c.ID)
		return Client{}, err
	}
	row.ETag = etag
	c.row = row
	r.remember(c)
	return c, nil
}
