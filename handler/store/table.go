// Package store is the interface between the server and durable storage.
//
// Everything that instances share is kept in a [Table]. Its contract is what Azure
// Table Storage promises and nothing more; package storetest tests every
// implementation against it.
package store

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"
)

// Limits that every implementation enforces, so that what works on the
// embedded store works in Azure Table Storage.
const (
	// MaxValue is the largest Row.Value in bytes: one Edm.Binary property.
	MaxValue = 64 << 10
	// MaxKey is the longest partition or key in bytes. Keys are restricted
	// to [A-Za-z0-9._~-], which both stores order and accept alike.
	MaxKey = 256
	// MaxDrop is the most rows one Drop takes: one entity group transaction.
	MaxDrop = 100
	// MaxPage is the most rows in one Page. One whose values come to 4 MiB
	// ends earlier.
	MaxPage = 1000
)

var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("store: row not found")
	// ErrExists: an insert found a row with the same partition and key.
	ErrExists = errors.New("store: row already exists")
	// ErrConflict: the row has changed since the ETag was read.
	ErrConflict = errors.New("store: row has changed")
	// ErrInvalid: the partition, key, value or argument is outside the limits.
	ErrInvalid = errors.New("store: invalid argument")
)

// ProbePartition holds the rows with which app doctor tries a table.
const ProbePartition = "doctor"

// ETag is the opaque version of a row. It differs after every write.
type ETag string

// Row is one entity.
type Row struct {
	Partition string
	Key       string
	// ETag is set by Get and List and is the precondition of Replace.
	ETag ETag
	// Expires is when the row may be swept, in whole seconds UTC of the years
	// 1601 to 9999; zero means never. It is not enforced on reads: the owner of
	// the row decides.
	Expires time.Time
	// Value is opaque and at most MaxValue bytes.
	Value []byte
}

// Span selects rows by partition, from First to Last inclusive, in byte order.
type Span struct {
	// First may be empty: the span then begins with the first partition.
	First string
	// Last is mandatory, so that a forgotten field does not select a whole table.
	Last string
	// FirstKey, if set, leaves out the keys before it. Only the span of one
	// partition may have it.
	FirstKey string
}

// Partition is the span of one partition.
func Partition(name string) Span { return Span{First: name, Last: name} }

// Prefix is the span of all partitions that begin with prefix: of all there
// are, if it is empty. Last is the greatest partition there can be, since '~'
// is the greatest byte of a key.
func Prefix(prefix string) Span {
	return Span{First: prefix, Last: prefix + strings.Repeat("~", max(0, MaxKey-len(prefix)))}
}

// Cursor continues a listing; the empty one begins it.
type Cursor string

// Page is one answer of a listing.
type Page struct {
	Rows []Row
	// Next is empty on the last page. A page may hold no rows and still
	// have a next one.
	Next Cursor
}

// Rows yields the rows of span page by page, as [Table.List] does. An error is
// yielded with no row, and is the last.
func Rows(ctx context.Context, t Table, span Span) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for cursor := Cursor(""); ; {
			page, err := t.List(ctx, span, cursor)
			if err != nil {
				yield(Row{}, err)
				return
			}
			for _, row := range page.Rows {
				if !yield(row, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}

// Table is a partitioned key-value table with optimistic concurrency.
//
// Writes are linearizable per row: of any number of concurrent Inserts of one
// key, or of Replaces and Deletes naming one ETag, exactly one succeeds. Writes
// are not retried by an implementation, because a retry can turn its own success
// into a conflict. A write that the store refused as too busy is the exception: it
// may be sent once more, and if that finds a conflict, the outcome is unknown. An
// error that is none of the sentinels above means that the outcome is unknown;
// callers treat it as a refusal. Reads see every write that returned before they
// began.
type Table interface {
	// Insert adds a row and fails with ErrExists if there is one already.
	Insert(ctx context.Context, row Row) (ETag, error)
	// Get reads one row, or fails with ErrNotFound.
	Get(ctx context.Context, partition, key string) (Row, error)
	// Replace overwrites the row if its ETag is still row.ETag. It fails with
	// ErrConflict if the row changed and with ErrNotFound if it is gone. There
	// is no unconditional form: an empty ETag, and "*", are ErrInvalid.
	Replace(ctx context.Context, row Row) (ETag, error)
	// Delete removes the row if its ETag is still etag. It fails as Replace.
	Delete(ctx context.Context, partition, key string, etag ETag) error
	// List returns rows in the order of partition, then key. Rows written
	// while a listing is under way may or may not appear in it. A cursor
	// continues only the listing, of the same span, that it came from; with
	// any other it fails with ErrInvalid or lists from anywhere.
	List(ctx context.Context, span Span, from Cursor) (Page, error)
	// ListExpired returns the rows with a non-zero Expires before the given
	// time, in whatever order suits the store, so that its cost follows the
	// number of these rows where the store can. Otherwise it is as List.
	ListExpired(ctx context.Context, before time.Time, from Cursor) (Page, error)
	// Drop removes up to MaxDrop rows, of any partitions, as Delete would
	// remove each of them, and returns how many it has removed. Rows that
	// changed since their ETag was read, or are gone, are left and are no
	// error. It is for sweeping: rows of one partition share a transaction
	// where the store has them, and it may have removed only some when it
	// fails.
	Drop(ctx context.Context, rows []Row) (removed int, err error)
	// Close releases what the table holds. The table is not used afterwards.
	Close() error
}
