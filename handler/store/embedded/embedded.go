// Package embedded is a store.Table in one file, for a single process.
//
// It needs no other service, which makes it the store for development and
// for a server that runs as one instance. A committed write survives the death
// of the process and of the machine: every write is synced to disk.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrInUse: another process, or another Open in this one, has the directory.
var ErrInUse = errors.New("embedded: directory is in use by another process")

// FileName is the one file in the directory.
const FileName = "store.db"

// lockWait lets a predecessor that is just ending let go of the file.
const lockWait = time.Second

var rowsBucket = []byte("rows")

// Table is a store.Table kept in the file store.db of one directory. It is
// safe for concurrent use; writes are serialised, and those that wait are
// committed together.
type Table struct {
	db      *bbolt.DB
	commits commits
	indexed atomic.Bool // the index by expiry is complete
}

// buckets are those of one transaction.
type buckets struct{ rows, expiry, state *bbolt.Bucket }

func bucketsOf(tx *bbolt.Tx) buckets {
	return buckets{tx.Bucket(rowsBucket), tx.Bucket(expiryBucket), tx.Bucket(stateBucket)}
}

// Open opens the table in dir and holds its lock until Close or the end of the
// process. A directory that does not exist is created with mode 0700; one that
// does keeps its mode, as it may be a mount that serves others too. The file is
// readable by its owner only, always.
//
// It fails with ErrInUse if the lock is still held after one second.
func Open(dir string) (*Table, error) {
	if dir == "" {
		return nil, errors.New("embedded: no data directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded: create data directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s (stop the other process, or set another DATA_DIR)", ErrInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded: open %s: %w", path, err)
	}
	t := &Table{db: db, commits: commits{db: db}}
	if err := t.prepare(path); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: prepare %s: %w", path, err), db.Close())
	}
	return t, nil
}

func (t *Table) prepare(path string) error {
	// A file restored from a copy may have come back with a wider mode.
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return t.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{rowsBucket, stateBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		b, err := bucketsOf(tx).prepareIndex(tx)
		t.indexed.Store(err == nil && b.state.Get(unindexed) == nil)
		return err
	})
}

// Close waits for calls under way and lets go of the directory.
func (t *Table) Close() error { return t.db.Close() }

func (t *Table) update(ctx context.Context, op string, do func(buckets) error) error {
	return named(ctx, op, func() error { return t.commits.apply(ctx, do) })
}

func (t *Table) view(ctx context.Context, op string, do func(buckets) error) error {
	return named(ctx, op, func() error {
		return t.db.View(func(tx *bbolt.Tx) error { return do(bucketsOf(tx)) })
	})
}

func named(ctx context.Context, op string, do func() error) error {
	err := ctx.Err()
	if err == nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("embedded: %s: %w", op, err)
	}
	return nil
}
