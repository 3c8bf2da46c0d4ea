package keyring_test

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"entramcp/handler/store"
)

func newTable(testing.TB) store.Table { return &memory{rows: map[string]store.Row{}} }

type memory struct {
	mu   sync.Mutex
	rows map[string]store.Row
	n    int
}

func (m *memory) put(row store.Row) (store.ETag, error) {
	m.n++
	row.ETag = store.ETag(strconv.Itoa(m.n))
	m.rows[row.Partition+"/"+row.Key] = row
	return row.ETag, row.Check()
}

func (m *memory) Insert(_ context.Context, row store.Row) (store.ETag, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.rows[row.Partition+"/"+row.Key]; ok {
		return "", store.ErrExists
	}
	return m.put(row)
}

func (m *memory) Get(_ context.Context, partition, key string) (store.Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row, ok := m.rows[partition+"/"+key]
	if !ok {
		return store.Row{}, store.ErrNotFound
	}
	return row, nil
}

func (m *memory) Replace(_ context.Context, row store.Row) (store.ETag, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.rows[row.Partition+"/"+row.Key]
	switch {
	case !ok:
		return "", store.ErrNotFound
	case old.ETag != row.ETag:
		return "", store.ErrConflict
	}
	return m.put(row)
}

func (m *memory) Delete(_ context.Context, partition, key string, etag store.ETag) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.rows[partition+"/"+key]
	switch {
	case !ok:
		return store.ErrNotFound
	case old.ETag != etag:
		return store.ErrConflict
	}
	delete(m.rows, partition+"/"+key)
	return nil
}

func (m *memory) List(_ context.Context, span store.Span, _ store.Cursor) (store.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page store.Page
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		row := m.rows[k]
		if row.Partition < span.First || row.Partition > span.Last {
			continue
		}
		if !span.ExpiredBefore.IsZero() && (row.Expires.IsZero() || !row.Expires.Before(span.ExpiredBefore)) {
			continue
		}
		page.Rows = append(page.Rows, row)
	}
	return page, nil
}

func (m *memory) Drop(_ context.Context, partition string, keys []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.rows, partition+"/"+k)
	}
	return nil
}

func (m *memory) Close() error { return nil }
