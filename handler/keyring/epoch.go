package keyring

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"entramcp/handler/store"
)

const (
	epochSize = 32
	kidSize   = 9 // bytes; 12 characters of base64url, without a remainder
	kidLength = 12
)

// record is the value of an epoch's row.
type record struct {
	KeyID     string    `json:"kid"`
	Created   time.Time `json:"created"`
	Activates time.Time `json:"activates"`
	Wrapping  string    `json:"wrapping"` // id of the wrapping key, version included
	Wrapped   []byte    `json:"wrapped"`
}

// epoch is one row as read, with its keys unless it is locked. It is not
// changed after it was made.
type epoch struct {
	row       store.Row
	record    record
	succeeded time.Time // when the next epoch activates; zero for the newest
	keys      *keys
	locked    error // why there are no keys
}

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
	n := e.sequence()
	if n == 0 || rowKey(n) != row.Key || len(rec.KeyID) != kidLength ||
		rec.Created.IsZero() || rec.Activates.IsZero() || rec.Wrapping == "" || len(rec.Wrapped) == 0 {
		return nil, fmt.Errorf("keyring: row %s/%s is not an epoch", row.Partition, row.Key)
	}
	return e, nil
}

// arrange sorts epochs and leaves out those that have expired. The newest
// stays whatever its row says: without it there would be nothing to sign with.
func arrange(list []*epoch, now time.Time) *epochs {
	slices.SortFunc(list, func(a, b *epoch) int { return cmp.Compare(a.row.Key, b.row.Key) })
	for i, e := range list[:max(len(list)-1, 0)] {
		e.succeeded = list[i+1].record.Activates
	}
	all := &epochs{byKID: make(map[string]*epoch, len(list)), loaded: now}
	for i, e := range list {
		if i < len(list)-1 && !e.row.Expires.IsZero() && e.row.Expires.Before(now) {
			continue
		}
		all.list = append(all.list, e)
		all.byKID[e.record.KeyID] = e
	}
	return all
}

func (all *epochs) newest() *epoch { return all.list[len(all.list)-1] }

// signing picks the newest epoch that is active and can be unwrapped, unless
// it was succeeded longer than Overlap ago. If none is active, as a clock that
// is behind can have it, the first one signs.
func (all *epochs) signing(now time.Time) (*epoch, error) {
	if now.Sub(all.loaded) > Overlap {
		return nil, fmt.Errorf("keyring: the ring was last read at %s", all.loaded.UTC().Format(time.RFC3339))
	}
	var locked error
	for i, e := range slices.Backward(all.list) {
		switch {
		case i > 0 && e.record.Activates.After(now):
			continue
		case e.locked != nil:
			if locked == nil {
				locked = e.locked
			}
			continue
		case !e.succeeded.IsZero() && now.Sub(e.succeeded) > Overlap:
			return nil, cmp.Or(locked, errors.New("keyring: no epoch may sign"))
		}
		return e, nil
	}
	return nil, cmp.Or(locked, errors.New("keyring: no epoch may sign"))
}

// newRecord makes the bytes of an epoch and wraps them.
func newRecord(ctx context.Context, w Wrapper, random io.Reader, created, activates time.Time) (record, error) {
	key := make([]byte, epochSize)
	if _, err := io.ReadFull(random, key); err != nil {
		return record{}, fmt.Errorf("keyring: random bytes: %w", err)
	}
	id, wrapped, err := wrap(ctx, w, key)
	if err != nil {
		return record{}, err
	}
	return record{KeyID: keyID(key), Created: created.UTC(), Activates: activates.UTC(), Wrapping: id, Wrapped: wrapped}, nil
}

func (rec record) row(sequence uint32) (store.Row, error) {
	value, err := json.Marshal(rec)
	if err != nil {
		return store.Row{}, fmt.Errorf("keyring: encode epoch %d: %w", sequence, err)
	}
	return store.Row{Partition: Partition, Key: rowKey(sequence), Value: value}, nil
}

// keyID is a fingerprint of the epoch's bytes, so that bytes that are not
// those the row names are noticed, and a ring made anew shares no id with the
// one before.
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
