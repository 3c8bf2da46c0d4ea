package keyring

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"entramcp/handler/store"
)

const (
	epochSize = 32
	kidSize   = 9 // bytes; 12 characters of base64url, without a remainder
	kidLength = 12
)

// recordVersion is the version of new records. Those without a version have the same
// form.
const recordVersion = 1

// record is the value of an epoch's row.
type record struct {
	Version   int       `json:"v,omitempty"`
	KeyID     string    `json:"kid"`
	Created   time.Time `json:"created"`
	Activates time.Time `json:"activates"`
	Wrapping  string    `json:"wrapping"` // id of the wrapping key, version included
	// Wrapped is the wrapped epoch, or a placeholder once it is retired.
	Wrapped []byte `json:"wrapped"`
	// Retired is when an operator ended the epoch.
	Retired time.Time `json:"retired,omitzero"`
	// Rewrap is set while the wrapping key is being changed.
	Rewrap *rewrap `json:"rewrap,omitempty"`
}

// rewrap says since when an instance has had another wrapping key.
type rewrap struct {
	With  string    `json:"with"` // Wrapper.ID
	Since time.Time `json:"since"`
}

// epoch is one row as read, with its keys unless it is locked or retired. It is not
// changed once it is made.
type epoch struct {
	row        store.Row
	record     record
	superseded time.Time // when the next epoch activates; zero for the newest
	keys       *keys
	locked     error // why there are no keys
}

func (e *epoch) retired() bool { return !e.record.Retired.IsZero() }

// epochs is the ring at one moment, in ascending sequence.
type epochs struct {
	list   []*epoch
	byKID  map[string]*epoch
	loaded time.Time
}

// rowKey orders rows as their sequence numbers.
func rowKey(sequence uint32) string { return fmt.Sprintf("%010d", sequence) }

func (e *epoch) sequence() uint32 {
	var n uint32
	_, _ = fmt.Sscanf(e.row.Key, "%010d", &n)
	return n
}

func parseEpoch(row store.Row) (*epoch, error) {
	e := &epoch{row: row}
	if err := json.Unmarshal(row.Value, &e.record); err != nil {
		return nil, fmt.Errorf("keyring: row %s/%s is not an epoch: %w", row.Partition, row.Key, err)
	}
	rec := e.record
	if rec.Version > recordVersion {
		return nil, fmt.Errorf("keyring: row %s/%s was written by a later version of this server", row.Partition, row.Key)
	}
	n := e.sequence()
	if n == 0 || rowKey(n) != row.Key || len(rec.KeyID) != kidLength ||
		rec.Created.IsZero() || rec.Activates.IsZero() || rec.Wrapping == "" || len(rec.Wrapped) == 0 {
		return nil, fmt.Errorf("keyring: row %s/%s is not an epoch", row.Partition, row.Key)
	}
	return e, nil
}

// newEpochs are the epochs of list, which is in ascending sequence, without those
// that have expired. The newest stays even if its row has expired: without it there
// would be nothing to sign with.
func newEpochs(list []*epoch, now time.Time) *epochs {
	all := &epochs{byKID: make(map[string]*epoch, len(list)), loaded: now}
	for i, e := range list {
		if newest := i == len(list)-1; !newest {
			e.superseded = list[i+1].record.Activates
			if !e.row.Expires.IsZero() && e.row.Expires.Before(now) {
				continue
			}
		}
		all.list = append(all.list, e)
		all.byKID[e.record.KeyID] = e
	}
	return all
}

func (all *epochs) newest() *epoch { return all.list[len(all.list)-1] }

var errNoneSigns = errors.New("keyring: no epoch may sign")

// signing picks the newest epoch that is active, not retired and can be unwrapped,
// unless it was superseded longer than Overlap ago. If there is none, the next one to
// activate signs early: the clock is behind, or the epoch before it was retired.
func (all *epochs) signing(now time.Time) (*epoch, error) {
	if now.Sub(all.loaded) > Overlap {
		return nil, fmt.Errorf("keyring: the ring was last read at %s", all.loaded.UTC().Format(time.RFC3339))
	}
	var next *epoch
	var locked error
	for _, e := range slices.Backward(all.list) {
		switch {
		case e.retired():
			continue
		case e.record.Activates.After(now):
			next = e
			continue
		case e.locked != nil:
			locked = cmp.Or(locked, e.locked)
			continue
		}
		if !e.superseded.IsZero() && now.Sub(e.superseded) > Overlap {
			break
		}
		return e, nil
	}
	switch {
	case locked != nil:
		return nil, locked
	case next == nil:
		return nil, errNoneSigns
	case next.locked != nil:
		return nil, next.locked
	}
	return next, nil
}

// newRecord makes the bytes of an epoch and wraps them.
func newRecord(ctx context.Context, w Wrapper, created, activates time.Time) (record, error) {
	key := make([]byte, epochSize)
	rand.Read(key) // never fails
	id, wrapped, err := wrap(ctx, w, key)
	if err != nil {
		return record{}, err
	}
	return record{KeyID: keyID(key), Created: created.UTC(), Activates: activates.UTC(), Wrapping: id, Wrapped: wrapped}, nil
}

func (rec record) row(sequence uint32) (store.Row, error) {
	rec.Version = recordVersion
	value, err := json.Marshal(rec)
	if err != nil {
		return store.Row{}, fmt.Errorf("keyring: encode epoch %d: %w", sequence, err)
	}
	return store.Row{Partition: Partition, Key: rowKey(sequence), Value: value}, nil
}

// keyID is a fingerprint of the epoch's bytes. It shows if they are not those that
// the row names, and two rings have no id in common.
func keyID(key []byte) string {
	return base64.RawURLEncoding.EncodeToString(expand(key, "entramcp/keyring/v1/kid", kidSize))
}

// expand is HKDF-SHA256 without salt: the input is uniformly random already
// (RFC 5869 §3.1).
func expand(key []byte, info string, size int) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, info, size)
	if err != nil {
		panic(err) // size is a constant far below 255 blocks, or a key FIPS mode refuses
	}
	return out
}
