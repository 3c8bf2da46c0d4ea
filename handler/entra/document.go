package entra

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// document is a value that Entra publishes and changes now and then. The last
// good copy outlives any outage: keys and endpoints that were good an hour ago
// are better than a sign-in page that is down because of a hiccup.
type document[T any] struct {
	fetch   func(context.Context) (T, error)
	now     func() time.Time
	timeout time.Duration

	flight singleflight.Group
	mu     sync.Mutex
	value  *T
	forced time.Time // when refreshRarely last fetched
}

// get returns the last good copy, and fetches only if there is none yet.
func (d *document[T]) get(ctx context.Context) (T, error) {
	if v := d.last(); v != nil {
		return *v, nil
	}
	return d.refresh(ctx)
}

// refresh fetches a copy. Calls that coincide share one fetch, which does not
// end because one of the callers gives up.
func (d *document[T]) refresh(ctx context.Context) (T, error) {
	return shared(ctx, &d.flight, "", d.timeout, func(ctx context.Context) (T, error) {
		v, err := d.fetch(ctx)
		if err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.value = &v
		}
		return v, err
	})
}

// refreshRarely refreshes unless an earlier call of it did so less than age
// ago; then it returns the last good copy. A fetch that failed does not count:
// the next caller may try again.
func (d *document[T]) refreshRarely(ctx context.Context, age time.Duration) (T, error) {
	d.mu.Lock()
	value, recent := d.value, !d.forced.IsZero() && d.now().Sub(d.forced) < age
	d.mu.Unlock()
	if value != nil && recent {
		return *value, nil
	}
	v, err := d.refresh(ctx)
	if err == nil {
		d.mu.Lock()
		d.forced = d.now()
		d.mu.Unlock()
	}
	return v, err
}

func (d *document[T]) last() *T {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value
}

// shared runs work once for the calls of key that coincide. The work ends after
// limit, but not because one of its callers gives up.
func shared[T any](ctx context.Context, group *singleflight.Group, key string, limit time.Duration, work func(context.Context) (T, error)) (T, error) {
	done := group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		return work(ctx)
	})
	var none T
	select {
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	}
}
