package azuretable

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

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
	answer, err := t.writer.AddEntity(ctx, data, nil)
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
	answer, err := t.writer.UpdateEntity(ctx, data, &aztables.UpdateEntityOptions{
		IfMatch:    to.Ptr(azcore.ETag(row.ETag)),
		UpdateMode: aztables.UpdateModeReplace,
	})
	return written("replace", answer.ETag, err)
}

// written is the version that a write has made, if the answer names it.
func written(op string, etag azcore.ETag, err error) (store.ETag, error) {
	if err == nil && etag == "" {
		err = errors.New("the answer has no ETag")
	}
	return store.ETag(etag), outcome(op, err)
}

// Delete implements store.Table.
func (t *Table) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if err := errors.Join(store.CheckKey(partition, key), store.CheckETag(etag)); err != nil {
		return err
	}
	_, err := t.writer.DeleteEntity(ctx, partition, key, &aztables.DeleteEntityOptions{IfMatch: to.Ptr(azcore.ETag(etag))})
	return outcome("delete", err)
}

// Drop implements store.Table: in one transaction if all rows are there, and
// else one by one, because a missing row fails the transaction.
func (t *Table) Drop(ctx context.Context, partition string, keys []string) error {
	if err := store.CheckDrop(partition, keys); err != nil {
		return err
	}
	// A transaction refuses a key that comes twice.
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	if len(keys) < 2 {
		return t.dropEach(ctx, partition, keys)
	}
	var actions []aztables.TransactionAction
	for _, key := range keys {
		data, err := encode(store.Row{Partition: partition, Key: key})
		if err != nil {
			return outcome("drop", err)
		}
		actions = append(actions, aztables.TransactionAction{
			ActionType: aztables.TransactionTypeDelete,
			Entity:     data,
			IfMatch:    to.Ptr(azcore.ETagAny),
		})
	}
	_, err := t.writer.SubmitTransaction(ctx, actions, nil)
	// The refusal of an action arrives inside a 202 Accepted:
	// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions#sample-error-response
	if isStatus(err, http.StatusAccepted) || isStatus(err, http.StatusNotFound) {
		return t.dropEach(ctx, partition, keys)
	}
	return outcome("drop", err)
}

func (t *Table) dropEach(ctx context.Context, partition string, keys []string) error {
	for _, key := range keys {
		_, err := t.writer.DeleteEntity(ctx, partition, key, &aztables.DeleteEntityOptions{IfMatch: to.Ptr(azcore.ETagAny)})
		if err := outcome("drop", err); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}
