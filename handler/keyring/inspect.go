package keyring

import (
	"context"
	"errors"
)

// Inspect reads the epochs as they are in the table and unwraps each, past
// everything that is in memory. It makes no epoch and changes none. The error
// joins, for every epoch that the wrapping key at hand does not open, what
// Ready would say about it.
func (r *Ring) Inspect(ctx context.Context) (epochs int, err error) {
	list, err := r.list(ctx)
	if err != nil {
		return 0, err
	}
	var locked []error
	for _, e := range list {
		if _, err := unwrap(ctx, r.opts.Wrapper, e); err != nil {
			locked = append(locked, err)
		}
	}
	return len(list), errors.Join(locked...)
}
