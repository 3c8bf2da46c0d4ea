package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// record is a grant as the table holds it.
type record struct {
	subject Subject
	id      string
	etag    store.ETag
	expires time.Time

	// Version is that of the format, absent in rows of before it was counted.
	// A reader of an earlier version ignores fields that it does not know, and
	// drops them when it writes.
	Version    int          `json:"v,omitempty"`
	Generation uint64       `json:"gen"`
	ClientID   string       `json:"client"`
	Scopes     oauth.Scopes `json:"scopes"`
	Created    time.Time    `json:"created"`
	LastUsed   time.Time    `json:"used"`
	RotatedAt  time.Time    `json:"rotated,omitzero"`
	// Code is there while the code has not been redeemed.
	Code *bindings `json:"code,omitempty"`
	// Revoked is when the grant ended, and Reason why.
	Revoked time.Time `json:"revoked,omitzero"`
	Reason  string    `json:"reason,omitempty"`
	// Sealed is the secret part, encrypted for this row only. A revoked
	// grant has none.
	Sealed string `json:"sealed,omitempty"`
}

// bindings are what the redemption of a code must match.
type bindings struct {
	RedirectURI string `json:"redirect"`
	Challenge   string `json:"challenge"`
}

// userData is the user's tokens and personal data, which a row holds sealed.
type userData struct {
	Identity Identity
	Upstream Upstream
}

// sealedData is the plain text of the sealed part of a row.
type sealedData struct {
	Identity Identity `json:"id"`
	Upstream struct {
		RefreshToken    string    `json:"rt,omitempty"`
		APIToken        string    `json:"at,omitempty"`
		APITokenExpires time.Time `json:"exp,omitzero"`
	} `json:"up"`
}

var (
	errNoGrant = errors.New("no such grant")
	errRevoked = errors.New("grant is revoked")
	errExpired = errors.New("expired")
)

// recordVersion is the format of grant rows that this version writes.
const recordVersion = 1

// rowKey binds sealed data to its row: sealed text that was copied to another
// row does not open.
func (r record) rowKey() []byte { return []byte(r.subject.partition() + "/" + r.id) }

func (r record) row() (store.Row, error) {
	r.Version = recordVersion
	value, err := json.Marshal(r)
	if err != nil {
		return store.Row{}, err
	}
	return store.Row{
		Partition: r.subject.partition(), Key: r.id, ETag: r.etag,
		Expires: r.expires.UTC().Truncate(time.Second), Value: value,
	}, nil
}

func decodeRecord(row store.Row, subject Subject) (record, error) {
	r := record{subject: subject, id: row.Key, etag: row.ETag, expires: row.Expires}
	if err := json.Unmarshal(row.Value, &r); err != nil {
		return r, fmt.Errorf("grant %s is damaged: %w", row.Key, err)
	}
	return r, nil
}

// read returns the row as it is, dead or alive: errNoGrant if there is none, a
// 503 if storage does not answer.
func (s *Service) read(ctx context.Context, subject Subject, id string) (record, error) {
	row, err := s.table.Get(ctx, subject.partition(), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return record{}, errNoGrant
	case err != nil:
		return record{}, unavailable(err)
	}
	r, err := decodeRecord(row, subject)
	if err != nil {
		return record{}, unavailable(err)
	}
	return r, nil
}

// live returns the grant if it has not ended; otherwise errNoGrant, errRevoked,
// errExpired or a 503.
func (s *Service) live(ctx context.Context, subject Subject, id string) (record, error) {
	r, err := s.read(ctx, subject, id)
	switch {
	case err != nil:
		return record{}, err
	case !r.Revoked.IsZero():
		return record{}, errRevoked
	case s.revoked.has(id):
		// Whoever revoked it ended before the second of its two writes, or is
		// about to make it.
		if err := s.mark(ctx, r, "revocation completed"); err != nil {
			return record{}, err
		}
		return record{}, errRevoked
	case !s.now().Before(r.expires):
		return record{}, errExpired
	}
	return r, nil
}

// ended tells a grant that has ended from one that cannot be read.
func ended(err error) bool {
	return errors.Is(err, errNoGrant) || errors.Is(err, errRevoked) || errors.Is(err, errExpired)
}

// replace writes r if the row has not changed since it was read.
func (s *Service) replace(ctx context.Context, r record) (record, error) {
	row, err := r.row()
	if err != nil {
		return record{}, err
	}
	r.etag, err = s.table.Replace(ctx, row)
	return r, err
}

func (s *Service) seal(ctx context.Context, r record, user userData) (string, error) {
	data := sealedData{Identity: user.Identity}
	data.Upstream.RefreshToken = user.Upstream.RefreshToken.Reveal()
	data.Upstream.APIToken = user.Upstream.APIToken.Reveal()
	data.Upstream.APITokenExpires = user.Upstream.APITokenExpires
	plain, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	return s.ring.Seal(ctx, keyring.UpstreamTokens, r.rowKey(), plain)
}

// unseal fails with a 503: that we cannot read what we have sealed says nothing
// against the client.
func (s *Service) unseal(ctx context.Context, r record) (userData, error) {
	plain, err := s.ring.Open(ctx, keyring.UpstreamTokens, r.rowKey(), r.Sealed)
	if err != nil {
		return userData{}, unavailable(fmt.Errorf("open the sealed part of grant %s: %w", r.id, err))
	}
	var data sealedData
	if err := json.Unmarshal(plain, &data); err != nil {
		return userData{}, unavailable(fmt.Errorf("read the sealed part of grant %s: %w", r.id, err))
	}
	return userData{data.Identity, Upstream{
		RefreshToken:    EntraRefreshToken{secret.New(data.Upstream.RefreshToken)},
		APIToken:        EntraAccessToken{secret.New(data.Upstream.APIToken)},
		APITokenExpires: data.Upstream.APITokenExpires,
	}}, nil
}

// grant is the public view of r.
func (r record) grant(identity Identity) Grant {
	return Grant{
		ID: r.id, Subject: r.subject, ClientID: r.ClientID, Scopes: r.Scopes, Identity: identity,
		Created: r.Created, LastUsed: r.LastUsed, sealed: r.Sealed, etag: r.etag,
	}
}
