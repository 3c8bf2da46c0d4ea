package azuretable

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"golang.org/x/sync/errgroup"

	"entramcp/handler/store"
)

// Insert implements store.Table.
func (t *Table) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := row.Check(); err != nil {
		return "", err
	}
	data, err := encode(row)
	if err != nil {
		return "", outcome("insert", err)
	}
	var answer aztables.AddEntityResponse
	err = t.write(ctx, "insert", func() (err error) {
		answer, err = t.writer.AddEntity(ctx, data, nil)
		return err
	})
	return written("insert", answer.ETag, err)
}

// Get implements store.Table.
func (t *Table) Get(ctx context.Context, partition, key string) (store.Row, error) {
	if err := store.CheckKey(partition, key); err != nil {
		return store.Row{}, err
	}
	answer, err := t.reader.GetEntity(ctx, partition, key, nil)
	if err != nil {
		return store.Row{}, outcome("get", err)
	}
	row, err := decode(answer.Value)
	return row, outcome("get", err)
}

// Replace implements store.Table.
func (t *Table) Replace(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := errors.Join(row.Check(), store.CheckETag(row.ETag)); err != nil {
		return "", err
	}
	data, err := encode(row)
	if err != nil {
		return "", outcome("replace", err)
	}
	var answer aztables.UpdateEntityResponse
	err = t.write(ctx, "replace", func() (err error) {
		answer, err = t.writer.UpdateEntity(ctx, data, &aztables.UpdateEntityOptions{
			IfMatch:    new(azcore.ETag(row.ETag)),
			UpdateMode: aztables.UpdateModeReplace,
		})
		return err
	})
	return written("replace", answer.ETag, err)
}

// write makes a write, and once more, shortly after, if the service was too busy
// to do it. What the second attempt finds on a row may be the work of the first,
// after all: that is an unknown outcome, and no conflict.
func (t *Table) write(ctx context.Context, op string, attempt func() error) error {
	err := attempt()
	if !wasBusy(err) {
		return outcome(op, err)
	}
	select {
	case <-ctx.Done():
		return outcome(op, err)
	case <-time.After(t.timing.retry):
	}
	if again := attempt(); sentinelOf(again) == nil {
		return outcome(op, again)
	}
	return outcome(op, err)
}

// written is the version that a write has made, if the answer names it.
func written(op string, etag azcore.ETag, err error) (store.ETag, error) {
	if err == nil && etag == "" {
		err = outcome(op, errors.New("the answer has no ETag"))
	}
	return store.ETag(etag), err
}

// Delete implements store.Table.
func (t *Table) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if err := errors.Join(store.CheckKey(partition, key), store.CheckETag(etag)); err != nil {
		return err
	}
	return t.write(ctx, "delete", func() error {
		_, err := t.writer.DeleteEntity(ctx, partition, key, &aztables.DeleteEntityOptions{IfMatch: new(azcore.ETag(etag))})
		return err
	})
}

// Drop implements store.Table. The rows of each partition go in one entity
// group transaction, several partitions at a time.
func (t *Table) Drop(ctx context.Context, rows []store.Row) (int, error) {
	if err := store.CheckDrop(rows); err != nil {
		return 0, err
	}
	partitions := map[string][]store.Row{}
	for _, row := range rows {
		partitions[row.Partition] = append(partitions[row.Partition], row)
	}
	var removed atomic.Int32
	var group errgroup.Group
	group.SetLimit(dropWorkers)
	for _, part := range partitions {
		group.Go(func() error {
			n, err := t.dropPartition(ctx, part)
			removed.Add(int32(n))
			return err
		})
	}
	err := group.Wait()
	return int(removed.Load()), err
}

// dropWorkers is how many requests one Drop has under way.
const dropWorkers = 8

func (t *Table) dropPartition(ctx context.Context, rows []store.Row) (int, error) {
	// A transaction refuses a key that comes twice.
	slices.SortFunc(rows, func(a, b store.Row) int { return cmp.Compare(a.Key, b.Key) })
	rows = slices.CompactFunc(rows, func(a, b store.Row) bool { return a.Key == b.Key })
	if len(rows) == 1 {
		return t.dropEach(ctx, rows)
	}
	actions := make([]aztables.TransactionAction, len(rows))
	for i, row := range rows {
		data, err := encode(store.Row{Partition: row.Partition, Key: row.Key})
		if err != nil {
			return 0, outcome("drop", err)
		}
		actions[i] = aztables.TransactionAction{
			ActionType: aztables.TransactionTypeDelete, Entity: data, IfMatch: new(azcore.ETag(row.ETag)),
		}
	}
	_, err := t.writer.SubmitTransaction(ctx, actions, nil)
	switch {
	case err == nil:
		return len(rows), nil
	// One row that is gone or has changed fails the whole transaction. Its
	// refusal arrives inside a 202 Accepted:
	// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions#sample-error-response
	case isStatus(err, http.StatusAccepted), isStatus(err, http.StatusNotFound), isStatus(err, http.StatusPreconditionFailed):
		return t.dropEach(ctx, rows)
	}
	return 0, outcome("drop", err)
}

func (t *Table) dropEach(ctx context.Context, rows []store.Row) (removed int, err error) {
	for _, row := range rows {
		switch err := t.Delete(ctx, row.Partition, row.Key, row.ETag); {
		case err == nil:
			removed++
		case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound):
			return removed, err
		}
	}
	return removed, nil
}

// entity is a row as JSON with minimal metadata:
// https://learn.microsoft.com/rest/api/storageservices/payload-format-for-table-service-operations
type entity struct {
	PartitionKey string
	RowKey       string
	ETag         string `json:"odata.etag,omitempty"`

	Value     aztables.EDMBinary
	ValueType string `json:"Value@odata.type"`

	// Expires is absent from a row that never expires; a filter by it then
	// leaves the row out.
	Expires     *aztables.EDMDateTime `json:",omitempty"`
	ExpiresType string                `json:"Expires@odata.type,omitempty"`
}

func encode(row store.Row) ([]byte, error) {
	e := entity{
		PartitionKey: row.Partition,
		RowKey:       row.Key,
		Value:        row.Value,
		ValueType:    "Edm.Binary",
	}
	if row.Value == nil {
		e.Value = aztables.EDMBinary{} // nil would be null, which deletes a property
	}
	if !row.Expires.IsZero() {
		at := aztables.EDMDateTime(row.Expires.UTC())
		e.Expires, e.ExpiresType = &at, "Edm.DateTime"
	}
	return json.Marshal(e)
}

func decode(data []byte) (store.Row, error) {
	var e entity
	if err := json.Unmarshal(data, &e); err != nil {
		return store.Row{}, err
	}
	if e.PartitionKey == "" || e.RowKey == "" || e.ETag == "" {
		return store.Row{}, errors.New("the answer is not an entity")
	}
	row := store.Row{
		Partition: e.PartitionKey,
		Key:       e.RowKey,
		ETag:      store.ETag(e.ETag),
		Value:     e.Value,
	}
	if e.Expires != nil {
		row.Expires = time.Time(*e.Expires).UTC()
	}
	return row, nil
}
