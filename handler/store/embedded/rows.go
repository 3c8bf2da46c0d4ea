package embedded

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
)

// Insert implements store.Table.
func (t *Table) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := row.Check(); err != nil {
		return "", err
	}
	var etag store.ETag
	err := t.update(ctx, "insert", func(b buckets) error {
		at := address(row.Partition, row.Key)
		if b.rows.Get(at) != nil {
			return store.ErrExists
		}
		if err := b.index(at, row.Expires); err != nil {
			return err
		}
		var err error
		etag, err = b.put(at, row)
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
	err := t.view(ctx, "get", func(b buckets) error {
		r, err := find(b.rows, address(partition, key))
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
	err := t.update(ctx, "replace", func(b buckets) error {
		at := address(row.Partition, row.Key)
		old, err := match(b.rows, at, row.ETag)
		if err != nil {
			return err
		}
		if err := b.reindex(at, old, row.Expires); err != nil {
			return err
		}
		etag, err = b.put(at, row)
		return err
	})
	return etag, err
}

// Delete implements store.Table.
func (t *Table) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if err := errors.Join(store.CheckKey(partition, key), store.CheckETag(etag)); err != nil {
		return err
	}
	return t.update(ctx, "delete", func(b buckets) error { return b.remove(address(partition, key), etag) })
}

// Drop implements store.Table, in one transaction.
func (t *Table) Drop(ctx context.Context, rows []store.Row) (int, error) {
	if err := store.CheckDrop(rows); err != nil {
		return 0, err
	}
	if len(rows) == 0 {
		return 0, nil
	}
	removed := 0
	err := t.update(ctx, "drop", func(b buckets) error {
		removed = 0
		for _, row := range rows {
			switch err := b.remove(address(row.Partition, row.Key), row.ETag); {
			case err == nil:
				removed++
			case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// put gives every write the next number of the file, so that an ETag never
// comes back, not even after the row was deleted and inserted again.
func (b buckets) put(at []byte, row store.Row) (store.ETag, error) {
	version, err := b.rows.NextSequence()
	if err != nil {
		return "", err
	}
	if err := b.expiry.SetSequence(version); err != nil {
		return "", err
	}
	return etagOf(version), b.rows.Put(at, encode(version, row))
}

func (b buckets) remove(at []byte, etag store.ETag) error {
	old, err := match(b.rows, at, etag)
	if err != nil {
		return err
	}
	if err := b.unindex(at, old); err != nil {
		return err
	}
	return b.rows.Delete(at)
}

func find(rows *bbolt.Bucket, at []byte) (encodedRow, error) {
	r := encodedRow(rows.Get(at))
	if r == nil {
		return nil, store.ErrNotFound
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// match finds the row of that version.
func match(rows *bbolt.Bucket, at []byte, etag store.ETag) (encodedRow, error) {
	r, err := find(rows, at)
	if err != nil {
		return nil, err
	}
	if r.etag() != etag {
		return nil, store.ErrConflict
	}
	return r, nil
}
