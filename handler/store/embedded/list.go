package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"entramcp/handler/store"
)

// pageBytes is where a page ends for its size, as in Azure Table Storage.
const pageBytes = 4 << 20

// List implements store.Table. Every page is a consistent snapshot; a listing
// of several pages is not.
func (t *Table) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	if err := span.Check(); err != nil {
		return store.Page{}, err
	}
	start, err := listStart(span, from)
	if err != nil {
		return store.Page{}, err
	}
	var page store.Page
	err = t.view(ctx, "list", func(b buckets) error {
		size := 0
		c := b.rows.Cursor()
		for at, value := c.Seek(start); at != nil; at, value = c.Next() {
			partition, key, err := splitAddress(at)
			if err != nil {
				return err
			}
			if partition > span.Last {
				return nil
			}
			if size += len(value); len(page.Rows) == store.MaxPage || (size > pageBytes && len(page.Rows) > 0) {
				page.Next = store.Cursor(partition + "/" + key)
				return nil
			}
			r := encodedRow(value)
			if err := r.check(); err != nil {
				return err
			}
			page.Rows = append(page.Rows, r.row(partition, key))
		}
		return nil
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// listStart is where the scan begins: a Cursor is the address of the next row.
func listStart(span store.Span, from store.Cursor) ([]byte, error) {
	if from == "" {
		if span.FirstKey != "" {
			return address(span.First, span.FirstKey), nil
		}
		return []byte(span.First), nil
	}
	partition, key, _ := strings.Cut(string(from), "/")
	if store.CheckKey(partition, key) != nil || partition < span.First {
		return nil, errCursor
	}
	return address(partition, key), nil
}

var errCursor = fmt.Errorf("%w: the cursor does not come from this listing", store.ErrInvalid)

// ListExpired implements store.Table, in the order of expiry. In a file whose
// index is not complete, it first completes a part of it and returns an empty
// page.
func (t *Table) ListExpired(ctx context.Context, before time.Time, from store.Cursor) (store.Page, error) {
	start, err := expiryStart(from)
	if err != nil {
		return store.Page{}, err
	}
	complete, err := t.completeIndex(ctx)
	if err != nil {
		return store.Page{}, err
	}
	if !complete {
		return store.Page{Next: entryCursor(start)}, nil
	}
	var page store.Page
	err = t.view(ctx, "list expired rows", func(b buckets) error {
		page, err = expired(b, before, start)
		return err
	})
	return page, err
}

func expired(b buckets, before time.Time, start []byte) (store.Page, error) {
	var page store.Page
	size := 0
	c := b.expiry.Cursor()
	for entry, _ := c.Seek(start); entry != nil; entry, _ = c.Next() {
		expires, at, err := splitEntry(entry)
		if err != nil {
			return store.Page{}, err
		}
		if !expires.Before(before) {
			return page, nil
		}
		r, err := find(b.rows, at)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue // removed by a version that keeps no index
		case err != nil:
			return store.Page{}, err
		case !r.expires().Equal(expires):
			continue // likewise changed
		}
		if size += len(r); len(page.Rows) == store.MaxPage || (size > pageBytes && len(page.Rows) > 0) {
			page.Next = entryCursor(entry)
			return page, nil
		}
		partition, key, err := splitAddress(at)
		if err != nil {
			return store.Page{}, err
		}
		page.Rows = append(page.Rows, r.row(partition, key))
	}
	return page, nil
}
