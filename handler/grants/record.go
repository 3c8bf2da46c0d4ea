package grants

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

// record is a grant as the table holds it.
type record struct {
	subject Subject
	id      string
	etag    store.ETag
	expires time.Time
	// unsealed is what Sealed holds, where this request has just sealed it.
	unsealed *userData

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
		// The instance that revoked it ended before the second of its two writes, or is
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

// event is an audit event about r. identity is empty where it is not known.
func (r record) event(name observe.EventName, identity Identity) observe.Event {
	return observe.Event{
		Name: name, Grant: r.id, Subject: string(r.subject), Tenant: identity.TenantID, ObjectID: identity.ObjectID,
		Client: observe.AuditClient{ID: r.ClientID, Name: r.ClientName, Host: cmp.Or(HostOf(r.ClientID), r.RedirectHost)},
	}
}

// grant is the public view of r.
func (r record) grant(identity Identity) Grant {
	return Grant{
		ID: r.id, Subject: r.subject, ClientID: r.ClientID, ClientName: r.ClientName, Verified: r.Verified,
		DocumentHost: HostOf(r.ClientID), RedirectHost: r.RedirectHost, Scopes: r.Scopes, Identity: identity,
		Created: r.Created, LastUsed: r.LastUsed, sealed: r.Sealed, etag: r.etag,
	}
}
