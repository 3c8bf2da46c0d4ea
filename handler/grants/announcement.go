package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Partitions of the table that hold what this package announces.
const (
	// RevocationPrefix begins the partitions of revocations: one for each hour
	// (UTC) in which they were stamped, r-2026112611. The key begins with the
	// stamp, so that what came after a moment is a range of keys. Rows are
	// written once and never changed.
	RevocationPrefix = "r-"
	// LegacyRevocationPartition is where versions before the hourly partitions
	// keep all revocations, by grant.
	LegacyRevocationPartition = "revoked"
)

const (
	// changeLifetime is how long at least the announcement of a change can be
	// read. That of a revocation can be read for as long as it matters.
	changeLifetime = time.Hour
	// lateWrite is how long writing a row may take. A row that took longer may
	// lie before what other instances still read, and is written again.
	lateWrite = 30 * time.Second
)

// An announcement tells every instance that a grant was revoked, or that the
// blocks or the keys have changed.
type announcement struct {
	Version int       `json:"v,omitempty"`
	Kind    string    `json:"kind,omitempty"` // empty: the revocation of a grant
	Subject Subject   `json:"sub,omitempty"`
	Grant   string    `json:"gid,omitempty"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
	// IssuedBefore, if set, revokes only the access tokens that were issued
	// before it; the grant stays.
	IssuedBefore time.Time `json:"before,omitzero"`
}

// The kinds of the announcements that are not revocations: changes.
const (
	blocksChanged = "blocks"
	keysChanged   = "keys"
)

const announcementVersion = 1

const hourLayout = "2006010215"

func hourPartition(t time.Time) string { return RevocationPrefix + t.UTC().Format(hourLayout) }

// stampKey begins the key of a row: milliseconds since 1970, which have 13
// digits until the year 2286.
func stampKey(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) + "-" }

func (v announcement) row(expires time.Time) (store.Row, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return store.Row{}, err
	}
	suffix := v.Grant
	if suffix == "" {
		suffix = oauth.RandomID()
	}
	return store.Row{
		Partition: hourPartition(v.At), Key: stampKey(v.At) + suffix, Value: value,
		Expires: expires.UTC().Truncate(time.Second),
	}, nil
}

func decodeAnnouncement(row store.Row) (announcement, error) {
	var v announcement
	if err := json.Unmarshal(row.Value, &v); err != nil {
		return v, fmt.Errorf("revocation %s/%s is damaged: %w", row.Partition, row.Key, err)
	}
	if row.Partition == LegacyRevocationPartition {
		v.Grant = row.Key
	}
	return v, nil
}

// lastsUntil is when no token that v is about can be valid any more, and its row
// is not read again. Versions before the hourly partitions extend their rows.
func (s *Service) lastsUntil(v announcement, row store.Row) time.Time {
	until := v.At.Add(max(s.tokenLifetime(), 2*rereadWindow))
	if row.Partition == LegacyRevocationPartition && row.Expires.After(until) {
		until = row.Expires
	}
	return until
}

// tokenLifetime is how long after its revocation an access token can be valid on
// any instance.
func (s *Service) tokenLifetime() time.Duration { return s.accessLifetime + leeway }

// announce announces v to every instance, for as long as any token that it is
// about can be valid.
func (s *Service) announce(ctx context.Context, v announcement) error {
	v.Version = announcementVersion
	for {
		begun := s.now()
		v.At = begun.UTC()
		lifetime := changeLifetime
		if v.Grant != "" {
			lifetime = s.tokenLifetime()
		}
		row, err := v.row(begun.Add(lifetime + margin))
		if err != nil {
			return err
		}
		if _, err := s.table.Insert(ctx, row); err != nil && !errors.Is(err, store.ErrExists) {
			return unavailable(err)
		}
		if v.Grant != "" {
			s.revoked.add(v, s.lastsUntil(v, row))
		}
		if s.now().Sub(begun) <= lateWrite {
			return s.announceLegacy(ctx, v)
		}
	}
}

// AnnounceKeyChange makes every instance read the key ring again within MaxStale,
// and verify all tokens again. It is called after an epoch was retired.
func (s *Service) AnnounceKeyChange(ctx context.Context) error {
	if err := s.announce(ctx, announcement{Kind: keysChanged}); err != nil {
		return err
	}
	s.forgetVerified()
	return nil
}

// rolloutKey is the row that says since when a version with hourly partitions of
// revocations uses the table.
const rolloutKey = "hourly-revocations"

// rolloutWindow is how long after that instances of an earlier version are
// expected to be about. They read revocations in LegacyRevocationPartition only.
const rolloutWindow = 24 * time.Hour

func (s *Service) beginRollout(ctx context.Context) error {
	value, err := json.Marshal(Block{At: s.now().UTC(), Version: 1})
	if err != nil {
		return err
	}
	_, err = s.table.Insert(ctx, store.Row{Partition: BlockPartition, Key: rolloutKey, Value: value})
	if errors.Is(err, store.ErrExists) {
		return nil // read at the next loading
	}
	return err
}

// announceLegacy writes the row that instances of earlier versions look for, while
// a rollout can be under way.
func (s *Service) announceLegacy(ctx context.Context, v announcement) error {
	until := s.legacyUntil.Load()
	if v.Grant == "" || !v.IssuedBefore.IsZero() || (until != 0 && s.now().Unix() > until) {
		return nil
	}
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.table.Insert(ctx, store.Row{
		Partition: LegacyRevocationPartition, Key: v.Grant, Value: value,
		Expires: v.At.Add(s.tokenLifetime() + margin).UTC().Truncate(time.Second),
	})
	if err != nil && !errors.Is(err, store.ErrExists) {
		return unavailable(err)
	}
	return nil
}
