package embedded

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
)

// Insert implements store.Table.
func (t *Table) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := row.Check(); err != nil {
		return "", err
	}
	var etag store.ETag
	err := t.update(ctx, "insert", func(rows *bbolt.Bucket) error {
		at := address(row.Partition, row.Key)
		if rows.Get(at) != nil {
			return store.ErrExists
		}
		var err error
		etag, err = put(rows, at, row)
		return err
	})
	return etag, err
}

// Get implements store.Table.
func (t *Table) Get(ctx context.Context, partition, key string) (store.Row, error) {
	if err := store.CheckKey(partition, key); err != nil {
		return store.Row{}, err
	}
	var row store.Row
	err := t.view(ctx, "get", func(rows *bbolt.Bucket) error {
		r, err := find(rows, address(partition, key))
		if err != nil {
			return err
		}
		row = r.row(partition, key)
		return nil
	})
	return row, err
}

// Replace implements store.Table.
func (t *Table) Replace(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := errors.Join(row.Check(), store.CheckETag(row.ETag)); err != nil {
		return "", err
	}
	var etag store.ETag
	err := t.update(ctx, "replace", func(rows *bbolt.Bucket) error {
		at := address(row.Partition, row.Key)
		if err := match(rows, at, row.ETag); err != nil {
			return err
		}
		var err error
		etag, err = put(rows, at, row)
		return err
	})
	return etag, err
}

// Delete implements store.Table.
func (t *Table) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if err := errors.Join(store.CheckKey(partition, key), store.CheckETag(etag)); err != nil {
		return err
	}
	return t.update(ctx, "delete", func(rows *bbolt.Bucket) error {
		at := address(partition, key)
		if err := match(rows, at, etag); err != nil {
			return err
		}
		return rows.Delete(at)
	})
}

// Drop implements store.Table. It removes all of the rows or none.
func (t *Table) Drop(ctx context.Context, partition string, keys []string) error {
	if err := store.CheckDrop(partition, keys); err != nil {
		return err
	}
	if len(keys) == 0 {
		return nil
	}
	return t.update(ctx, "drop", func(rows *bbolt.Bucket) error {
		for _, key := range keys {
			if err := rows.Delete(address(partition, key)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *Table) update(ctx context.Context, op string, do func(rows *bbolt.Bucket) error) error {
	return named(ctx, op, func() error {
		return t.db.Update(func(tx *bbolt.Tx) error {
			// The wait for other writers may have outlasted the caller.
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(tx.Bucket(rowsBucket))
		})
	})
}

func (t *Table) view(ctx context.Context, op string, do func(rows *bbolt.Bucket) error) error {
	return named(ctx, op, func() error {
		return t.db.View(func(tx *bbolt.Tx) error { return do(tx.Bucket(rowsBucket)) })
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

func find(rows *bbolt.Bucket, at []byte) (record, error) {
	r := record(rows.Get(at))
	if r == nil {
		return nil, store.ErrNotFound
	}
	return r, r.check()
}

func match(rows *bbolt.Bucket, at []byte, etag store.ETag) error {
	r, err := find(rows, at)
	if err != nil {
		return err
	}
	if r.etag() != etag {
		return store.ErrConflict
	}
	return nil
}

// put gives every write the next number of the file, so that an ETag never
// comes back, not even after the row was deleted and inserted again.
func put(rows *bbolt.Bucket, at []byte, row store.Row) (store.ETag, error) {
	version, err := rows.NextSequence()
	if err != nil {
		return "", err
	}
	return etagOf(version), rows.Put(at, encode(version, row))
}
