package clients

import (
	"context"
	"errors"
	"sync/atomic"

	"entramcp/handler/store"
)

var errStorage = errors.New("storage is away")

// flaky is a table of which single operations fail, so that a swallowed error
// is not hidden by the failure of the next step.
type flaky struct {
	store.Table
	get, insert, replace atomic.Bool
}

func (f *flaky) Get(ctx context.Context, partition, key string) (store.Row, error) {
	if f.get.Load() {
		return store.Row{}, errStorage
	}
	return f.Table.Get(ctx, partition, key)
}

func (f *flaky) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	if f.insert.Load() {
		return "", errStorage
	}
	return f.Table.Insert(ctx, row)
}

func (f *flaky) Replace(ctx context.Context, row store.Row) (store.ETag, error) {
	if f.replace.Load() {
		return "", errStorage
	}
	return f.Table.Replace(ctx, row)
}
