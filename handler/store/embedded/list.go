package embedded

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
)

// maxScan bounds the records one page looks at, and so the time it keeps old
// pages of the file from being reused, when few of them have expired.
const maxScan = 10 * store.MaxPage

// List implements store.Table. Every page is a consistent snapshot; a listing
// of several pages is not.
func (t *Table) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	if err := span.Check(); err != nil {
		return store.Page{}, err
	}
	start, err := startOf(span, from)
	if err != nil {
		return store.Page{}, err
	}
	var page store.Page
	err = t.view(ctx, "list", func(rows *bbolt.Bucket) error {
		page, err = scan(rows.Cursor(), span, start)
		return err
	})
	return page, err
}

func scan(c *bbolt.Cursor, span store.Span, start []byte) (store.Page, error) {
	var page store.Page
	scanned := 0
	for at, value := c.Seek(start); at != nil; at, value = c.Next() {
		partition, key, err := splitAddress(at)
		if err != nil {
			return store.Page{}, err
		}
		if string(partition) > span.Last {
			return page, nil
		}
		if scanned == maxScan || len(page.Rows) == store.MaxPage {
			page.Next = store.Cursor(string(partition) + "/" + string(key))
			return page, nil
		}
		scanned++
		r := record(value)
		if err := r.check(); err != nil {
			return store.Page{}, err
		}
		if selects(span, r.expires()) {
			page.Rows = append(page.Rows, r.row(string(partition), string(key)))
		}
	}
	return page, nil
}

func selects(span store.Span, expires time.Time) bool {
	if span.ExpiredBefore.IsZero() {
		return true
	}
	return !expires.IsZero() && expires.Before(span.ExpiredBefore)
}

// startOf is where the scan begins: a Cursor is the address of the next record.
func startOf(span store.Span, from store.Cursor) ([]byte, error) {
	if from == "" {
		return []byte(span.First), nil
	}
	partition, key, _ := strings.Cut(string(from), "/")
	if err := store.CheckKey(partition, key); err != nil || partition < span.First {
		return nil, fmt.Errorf("%w: cursor is not from this listing", store.ErrInvalid)
	}
	return address(partition, key), nil
}
