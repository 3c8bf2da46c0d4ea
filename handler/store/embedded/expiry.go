package embedded

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
)

// The index by expiry is a bucket of empty values under eight bytes of time and
// the address of a row, so that the cost of finding expired rows depends on their
// number alone. Every write changes it in the transaction of the row, and gives the
// bucket the sequence number of the rows. A file in which the two differ was
// last written by a version that knows no index: it is made again, a part at a
// time (completeIndex).
var (
	expiryBucket = []byte("expiry")
	stateBucket  = []byte("state")

	// unindexed is the key, in the state bucket, of the address at which the
	// index is to be continued. It is absent when the index is complete.
	unindexed = []byte("unindexed")
)

const (
	timeSize = 8
	// indexStep bounds the rows that one transaction adds to the index, and
	// so how long it keeps other writers waiting.
	indexStep = 5000
)

// entryOf orders negative times before the others.
func entryOf(expires time.Time, at []byte) []byte {
	b := make([]byte, 0, timeSize+len(at))
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix())^(1<<63))
	return append(b, at...)
}

func splitEntry(entry []byte) (expires time.Time, at []byte, err error) {
	if len(entry) <= timeSize {
		return time.Time{}, nil, errCorrupt
	}
	seconds := int64(binary.BigEndian.Uint64(entry) ^ (1 << 63))
	return time.Unix(seconds, 0).UTC(), entry[timeSize:], nil
}

// A cursor of ListExpired is the next entry.
func entryCursor(entry []byte) store.Cursor {
	return store.Cursor("x" + base64.RawURLEncoding.EncodeToString(entry))
}

func expiryStart(from store.Cursor) ([]byte, error) {
	if from == "" {
		return nil, nil
	}
	text, ok := strings.CutPrefix(string(from), "x")
	entry, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil {
		return nil, errCursor
	}
	return entry, nil
}

// prepareIndex runs when the file is opened.
func (b buckets) prepareIndex(tx *bbolt.Tx) (buckets, error) {
	if b.expiry != nil && b.expiry.Sequence() == b.rows.Sequence() {
		return b, nil
	}
	if b.expiry != nil {
		if err := tx.DeleteBucket(expiryBucket); err != nil {
			return b, err
		}
	}
	var err error
	if b.expiry, err = tx.CreateBucket(expiryBucket); err != nil {
		return b, err
	}
	if first, _ := b.rows.Cursor().First(); first != nil {
		if err := b.state.Put(unindexed, bytes.Clone(first)); err != nil {
			return b, err
		}
	}
	return b, b.expiry.SetSequence(b.rows.Sequence())
}

// completeIndex adds the next rows to an index that is not complete, and
// reports whether it is.
func (t *Table) completeIndex(ctx context.Context) (complete bool, err error) {
	if t.indexed.Load() {
		return true, nil
	}
	err = t.update(ctx, "index rows by expiry", func(b buckets) error {
		start := bytes.Clone(b.state.Get(unindexed))
		c := b.rows.Cursor()
		at, value := c.Seek(start)
		for range indexStep {
			if at == nil {
				break
			}
			r := encodedRow(value)
			if err := r.check(); err != nil {
				return err
			}
			if err := b.index(at, r.expires()); err != nil {
				return err
			}
			at, value = c.Next()
		}
		if at != nil {
			return b.state.Put(unindexed, bytes.Clone(at))
		}
		complete = true
		return b.state.Delete(unindexed)
	})
	if err == nil && complete {
		t.indexed.Store(true)
	}
	return complete && err == nil, err
}

func (b buckets) index(at []byte, expires time.Time) error {
	if expires.IsZero() {
		return nil
	}
	return b.expiry.Put(entryOf(expires, at), nil)
}

// reindex has the entry of old follow its row. One whose time stays is left as it is:
// the steps of a sign-in change neither, and a page that is not touched is not
// written. An entry that is not there yet is of a row that completeIndex comes to.
func (b buckets) reindex(at []byte, old encodedRow, expires time.Time) error {
	if old.expires().Equal(expires) {
		return nil
	}
	if err := b.unindex(at, old); err != nil {
		return err
	}
	return b.index(at, expires)
}

// unindex removes the entry, if there is one, of a row that is about to change or to
// be removed.
func (b buckets) unindex(at []byte, old encodedRow) error {
	return b.expiry.Delete(entryOf(old.expires(), at))
}
