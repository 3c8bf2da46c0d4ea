package grants

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
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
	// RotatedAt is when the current generation began.
	RotatedAt time.Time `json:"rotated,omitzero"`
	// Rotations are when the generations before the current one ended, in Unix
	// milliseconds, at most maxRotations, the last one last.
	Rotations []int64 `json:"rotations,omitempty"`
	// Code is what the code was bound to, for as long as it has not expired.
	Code *bindings `json:"code,omitempty"`
	// Confirmed is when Entra last said that the sign-in holds, and Asking when
	// an instance began to ask it again.
	Confirmed time.Time `json:"confirmed,omitzero"`
	Asking    time.Time `json:"asking,omitzero"`
	// WithoutRefresh says that the client got no refresh token.
	WithoutRefresh bool `json:"norefresh,omitempty"`

	// What is shown of the client, and by what it can be blocked.
	ClientName   string `json:"name,omitempty"`
	Verified     bool   `json:"verified,omitempty"`
	RedirectHost string `json:"rhost,omitempty"`
	TenantHash   string `json:"tenant,omitempty"`
	// Revoked is when the grant ended, and Reason why.
	Revoked time.Time `json:"revoked,omitzero"`
	Reason  string    `json:"reason,omitempty"`
	// Sealed is the secret part, encrypted for this row only. A revoked
	// grant has none.
	Sealed string `json:"sealed,omitempty"`
}

// bindings are what the redemption of a code must match.
type bindings struct {
	RedirectURI   string `json:"redirect"`
	CodeChallenge string `json:"challenge"`
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
		if err := s.markRevoked(ctx, r, "revocation completed"); err != nil {
			return record{}, err
		}
		return record{}, errRevoked
	case s.expired(r):
		return record{}, errExpired
	}
	if b, blocked := s.blocks.Load().find(r.parties(), r.Created); blocked {
		if err := s.revokeGrant(ctx, r, revocationCause{observe.BlockEnforced, reasonOf(b)}, ""); err != nil {
			return record{}, err
		}
		return record{}, errRevoked
	}
	return r, nil
}

// expired reports whether the grant was not used for too long, or is older than
// grants may be.
func (s *Service) expired(r record) bool {
	now := s.now()
	end := s.endOf(r)
	return !now.Before(r.expires) || (!end.IsZero() && !now.Before(end))
}

// endOf is when r ends however often it is used; zero if it does not.
func (s *Service) endOf(r record) time.Time {
	if s.grantLifetime <= 0 {
		return time.Time{}
	}
	return r.Created.Add(s.grantLifetime)
}

// parties are those whose block ends the grant.
func (r record) parties() partyHashes {
	return partyHashes{
		client: partyHash(tokenClientID(r.ClientID)), documentHost: partyHash(HostOf(r.ClientID)),
		redirectHost: partyHash(r.RedirectHost), user: partyHash(string(r.subject)), tenant: r.TenantHash,
	}
}

// maxRotations is how many rotations a grant keeps: as many as there can be
// within the grace, since a generation that is younger than a fifteenth of it is
// not rotated.
const maxRotations = 16

// advanced is r at its next generation.
func (r record) advanced(now time.Time) record {
	r.Rotations = append(slices.Clip(r.Rotations), now.UnixMilli())
	if extra := len(r.Rotations) - maxRotations; extra > 0 {
		r.Rotations = slices.Clone(r.Rotations[extra:])
	}
	r.Generation++
	r.RotatedAt, r.LastUsed = now, now
	return r
}

// rotatedAt is when generation ended; ok is false if that is not known, or if it
// has not.
func (r record) rotatedAt(generation uint64) (at time.Time, ok bool) {
	if generation >= r.Generation {
		return time.Time{}, false
	}
	age := r.Generation - generation
	if age <= uint64(len(r.Rotations)) {
		return time.UnixMilli(r.Rotations[uint64(len(r.Rotations))-age]), true
	}
	// Versions that kept only the last rotation drop the others.
	return r.RotatedAt, age == 1 && !r.RotatedAt.IsZero()
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

// maxSealed is the longest plain text in bytes whose sealed form fits into a row
// beside the rest of a record.
const maxSealed = 44 << 10

// compressed begins a plain text that was too long and is compressed (RFC 1951).
const compressed = 1

var errTooLarge = errors.New("Entra's tokens are too large to be kept")

// seal fails with a server_error for tokens that are too large, and else with a
// 503. A set of tokens that is too large (users with very many groups or roles)
// is compressed, and if that is not enough kept without the access token, which
// the refresh token brings again when it is needed.
func (s *Service) seal(ctx context.Context, r record, user userData) (string, error) {
	plain, err := encodeUserData(user)
	if len(plain) > maxSealed && err == nil {
		user.Upstream.APIToken, user.Upstream.APITokenExpires = EntraAccessToken{}, time.Time{}
		plain, err = encodeUserData(user)
	}
	if err != nil {
		return "", err
	}
	if len(plain) > maxSealed {
		return "", oauth.New(oauth.ServerError, "The sign-in cannot be kept: the tokens from Entra are too large. An administrator can make them smaller by leaving groups out of them.").
			Because(fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, len(plain), maxSealed))
	}
	sealed, err := s.ring.Seal(ctx, keyring.UpstreamTokens, r.rowKey(), plain)
	if err != nil {
		return "", unavailable(err)
	}
	return sealed, nil
}

func encodeUserData(user userData) ([]byte, error) {
	data := sealedData{Identity: user.Identity}
	data.Upstream.RefreshToken = user.Upstream.RefreshToken.Reveal()
	data.Upstream.APIToken = user.Upstream.APIToken.Reveal()
	data.Upstream.APITokenExpires = user.Upstream.APITokenExpires
	plain, err := json.Marshal(data)
	if err != nil || len(plain) <= maxSealed {
		return plain, err
	}
	var out bytes.Buffer
	out.WriteByte(compressed)
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// maxUserData bounds what is made of a compressed text, in bytes.
const maxUserData = 1 << 20

func decodeUserData(plain []byte) (sealedData, error) {
	var data sealedData
	if len(plain) > 0 && plain[0] == compressed {
		var err error
		if plain, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(plain[1:])), maxUserData)); err != nil {
			return data, err
		}
	}
	return data, json.Unmarshal(plain, &data)
}

// unseal fails with errRevoked if the key epoch was retired that sealed the row,
// and else with a 503: that we cannot read what we have sealed says nothing
// against the client.
func (s *Service) unseal(ctx context.Context, r record) (userData, error) {
	plain, err := s.ring.Open(ctx, keyring.UpstreamTokens, r.rowKey(), r.Sealed)
	if errors.Is(err, keyring.ErrRetired) {
		return userData{}, errRevoked
	}
	if err != nil {
		return userData{}, unavailable(fmt.Errorf("open the sealed part of grant %s: %w", r.id, err))
	}
	data, err := decodeUserData(plain)
	if err != nil {
		return userData{}, unavailable(fmt.Errorf("read the sealed part of grant %s: %w", r.id, err))
	}
	return userData{data.Identity, Upstream{
		RefreshToken:    EntraRefreshToken{secret.New(data.Upstream.RefreshToken)},
		APIToken:        EntraAccessToken{secret.New(data.Upstream.APIToken)},
		APITokenExpires: data.Upstream.APITokenExpires,
	}}, nil
}

// event is an audit event about r. identity is empty where it is not known.
func (r record) event(name observe.EventName, identity Identity) observe.Event {
	return observe.Event{
		Name: name, Grant: r.id, Subject: string(r.subject), Tenant: identity.TenantID, ObjectID: identity.ObjectID,
		Client: observe.AuditClient{ID: r.ClientID, Name: r.ClientName, Host: cmp.Or(HostOf(r.ClientID), r.RedirectHost)},
	}
}

// unsealFor is unseal for a request with a code or a refresh token.
func (s *Service) unsealFor(ctx context.Context, purpose keyring.Purpose, r record) (userData, error) {
	user, err := s.unseal(ctx, r)
	if ended(err) {
		err = invalidGrant(purpose, err)
	}
	return user, err
}

// grant is the public view of r.
func (r record) grant(identity Identity) Grant {
	return Grant{
		ID: r.id, Subject: r.subject, ClientID: r.ClientID, ClientName: r.ClientName, Verified: r.Verified,
		DocumentHost: HostOf(r.ClientID), RedirectHost: r.RedirectHost, Scopes: r.Scopes, Identity: identity,
		Created: r.Created, LastUsed: r.LastUsed, sealed: r.Sealed, etag: r.etag,
	}
}
