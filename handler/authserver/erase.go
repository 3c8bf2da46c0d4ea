package authserver

import (
	"context"
	"errors"

	"entramcp/handler/grants"
	"entramcp/handler/store"
)

// EraseUser removes what sign-ins have left of a user: approvals that are
// remembered, and the claims challenge that the next one was to meet.
func EraseUser(ctx context.Context, table store.Table, subject grants.Subject) error {
	for _, partition := range []string{approvalPartition(subject), claimsPartition(subject)} {
		for row, err := range store.Rows(ctx, table, store.Partition(partition)) {
			if err == nil {
				err = table.Delete(ctx, row.Partition, row.Key, row.ETag)
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
