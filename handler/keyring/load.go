package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"entramcp/handler/observe"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// failure is how and when a load failed.
type failure struct {
	err error
	at  time.Time
}

// Load reads the ring from the table, makes the first epoch if there is none, and
// then does what is due: rotation, re-wrapping, expiry. Errors of the latter are only
// logged: serving does not need it. Load is called once the listener is bound, and
// when another instance says that the ring has changed. Every other method loads the
// ring if it was not loaded yet.
func (r *Ring) Load(ctx context.Context) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	r.maintain(ctx)
	return nil
}

// current returns the keys to sign with.
func (r *Ring) current(ctx context.Context) (*keys, error) {
	all, err := r.loaded(ctx)
	if err != nil {
		return nil, err
	}
	e, err := all.signing(r.opts.Now())
	if err == nil {
		return e.keys, nil
	}
	if all, err = r.loadedAgain(ctx); err != nil {
		return nil, err
	}
	if e, err = all.signing(r.opts.Now()); err != nil {
		return nil, err
	}
	return e.keys, nil
}

// lookup returns the keys that kid names. If it does not know kid, it first reads the
// ring again, at most once in UnknownInterval. For an artefact that was issued after
// the last reading the answer is unknown, because its epoch may be newer than that.
// issued is in whole seconds; zero means unknown, and a time in the future is
// ignored.
func (r *Ring) lookup(ctx context.Context, kid string, issued time.Time) (*keys, error) {
	all, err := r.loaded(ctx)
	if err != nil {
		return nil, err
	}
	e := all.byKID[kid]
	if e == nil || e.locked != nil {
		if all, err = r.loadedForUnknown(ctx); err != nil {
			return nil, err
		}
		e = all.byKID[kid]
	}
	switch {
	case e == nil && !issued.Before(all.loaded.Truncate(time.Second)) && issued.Before(r.opts.Now().Add(UnknownInterval)):
		return nil, errors.New("keyring: the key ID is newer than the last read of the ring")
	case e == nil:
		return nil, ErrNotOurs
	case e.retired():
		return nil, ErrRetired
	case e.locked != nil:
		return nil, e.locked
	}
	return e.keys, nil
}

// loaded returns the ring, however old.
func (r *Ring) loaded(ctx context.Context) (*epochs, error) {
	if all := r.epochs.Load(); all != nil {
		return all, nil
	}
	return r.loadedAgain(ctx)
}

// loadedAgain returns the ring after reading it, unless that has just failed.
func (r *Ring) loadedAgain(ctx context.Context) (*epochs, error) {
	failed, all := r.failure.Load(), r.epochs.Load()
	if err := r.recentFailure(); err != nil {
		return nil, err
	}
	// Some of the callers that find the ring too old get here only when another has
	// already read it: they use what that reading brought.
	err := r.once(ctx, "too old", func() error {
		if f := r.failure.Load(); f != nil && f != failed {
			return f.err
		}
		if r.epochs.Load() != all {
			return nil
		}
		return r.reload(context.WithoutCancel(ctx))
	})
	if err != nil {
		return nil, err
	}
	return r.epochs.Load(), nil
}

// loadedForUnknown returns the ring after reading it again, at most once in
// UnknownInterval, however many ask. The interval counts these readings alone:
// one that Run has just made may have missed the epoch that is asked for.
func (r *Ring) loadedForUnknown(ctx context.Context) (*epochs, error) {
	recent := func() bool {
		last := r.unknown.Load()
		return last != nil && r.opts.Now().Sub(*last) < UnknownInterval
	}
	if recent() {
		return r.epochs.Load(), nil
	}
	err := r.once(ctx, "unknown", func() error {
		if recent() {
			return nil
		}
		if err := r.recentFailure(); err != nil {
			return err
		}
		now := r.opts.Now()
		if err := r.reload(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		r.unknown.Store(&now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.epochs.Load(), nil
}

// recentFailure is the error of a load that failed within retryInterval.
func (r *Ring) recentFailure() error {
	if f := r.failure.Load(); f != nil && r.opts.Now().Sub(f.at) < retryInterval {
		return f.err
	}
	return nil
}

// reload reads the ring once for all callers that wait for it.
func (r *Ring) reload(ctx context.Context) error {
	return r.once(ctx, "reload", func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		all, err := r.read(ctx)
		if err != nil {
			r.failure.Store(&failure{err, r.opts.Now()})
			r.opts.Log.ErrorContext(ctx, "the key ring cannot be read", slog.Any("cause", err))
			return err
		}
		r.epochs.Store(all)
		r.failure.Store(nil)
		return nil
	})
}

// once runs do once for all callers that wait for it at the same time. It continues
// when one of them gives up.
func (r *Ring) once(ctx context.Context, key string, do func() error) error {
	done := r.flight.DoChan(key, func() (any, error) { return nil, do() })
	select {
	case <-ctx.Done():
		return fmt.Errorf("keyring: waiting for the ring: %w", context.Cause(ctx))
	case result := <-done:
		return result.Err
	}
}

func (r *Ring) read(ctx context.Context) (*epochs, error) {
	list, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		// Only an empty partition starts a ring. It is read back, because if several
		// instances start together only one of them has made it.
		now := r.opts.Now()
		if err := r.insert(ctx, 1, now, now); err != nil {
			return nil, err
		}
		if list, err = r.list(ctx); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, errors.New("keyring: the first epoch was inserted and cannot be read back")
		}
	}
	all := newEpochs(list, r.opts.Now())
	r.unwrap(ctx, all)
	if _, err := all.signing(r.opts.Now()); err != nil {
		return nil, err
	}
	return all, nil
}

func (r *Ring) list(ctx context.Context) ([]*epoch, error) {
	var list []*epoch
	for row, err := range store.Rows(ctx, r.opts.Table, store.Partition(Partition)) {
		if err != nil {
			return nil, fmt.Errorf("keyring: list epochs: %w", err)
		}
		e, err := parseEpoch(row)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// insert adds an epoch. It is not an error if another instance was first.
func (r *Ring) insert(ctx context.Context, sequence uint32, created, activates time.Time) error {
	rec, err := newRecord(ctx, r.opts.Wrapper, created, activates)
	if err != nil {
		return err
	}
	row, err := rec.row(sequence)
	if err != nil {
		return err
	}
	switch _, err := r.opts.Table.Insert(ctx, row); {
	case errors.Is(err, store.ErrExists):
		return nil
	case err != nil:
		return fmt.Errorf("keyring: insert epoch %d: %w", sequence, err)
	}
	r.opts.Log.InfoContext(ctx, "a key epoch was created",
		slog.String("kid", rec.KeyID), slog.Time("activates", rec.Activates), slog.String("wrapping", rec.Wrapping))
	r.audit(ctx, "added", sequence)
	return nil
}

// audit notes that an epoch was added or retired.
func (r *Ring) audit(ctx context.Context, what string, sequence uint32) {
	observe.Audit(ctx, r.opts.Log, observe.Event{Name: observe.KeyRingChanged, Reason: what, Target: fmt.Sprintf("epoch %d", sequence)})
}

// unwrap gives every epoch its keys: those of the ring in memory if it has them. That
// saves calls to the wrapping key, and an instance can continue when rows are
// re-wrapped with a key that it does not have.
func (r *Ring) unwrap(ctx context.Context, all *epochs) {
	var known map[string]*epoch
	if before := r.epochs.Load(); before != nil {
		known = before.byKID
	}
	var group errgroup.Group
	group.SetLimit(4)
	for _, e := range all.list {
		if e.retired() {
			continue
		}
		if k := known[e.record.KeyID]; k != nil && k.keys != nil {
			e.keys = k.keys
			continue
		}
		group.Go(func() error {
			key, err := unwrap(ctx, r.opts.Wrapper, e)
			if err != nil {
				e.locked = err
				r.opts.Log.ErrorContext(ctx, "a key epoch cannot be used", slog.Any("cause", err))
				return nil
			}
			e.keys = &keys{kid: e.record.KeyID, epoch: secret.New(string(key))}
			return nil
		})
	}
	_ = group.Wait() // each error is kept with its epoch
}
