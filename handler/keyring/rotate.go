package keyring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"entramcp/handler/store"
)

// Run loads the ring and keeps it fresh until ctx ends. One goroutine of every
// instance runs it.
func (r *Ring) Run(ctx context.Context) {
	for {
		wait := ReloadInterval + r.random(ReloadInterval/4)
		if err := r.Load(ctx); err != nil {
			wait = UnknownInterval
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Rotate publishes the next epoch now; it signs after PublishBefore, as any
// other. If the newest epoch does not sign yet, a rotation is under way
// already and Rotate does nothing. Earlier epochs go on verifying.
func (r *Ring) Rotate(ctx context.Context) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	return r.succeed(ctx, r.epochs.Load())
}

// maintain does what is due for the ring just read. Any number of instances do
// so at once: each step is one insert or one conditional update.
func (r *Ring) maintain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.LoadTimeout)
	defer cancel()
	all := r.epochs.Load()
	for _, e := range all.list {
		if err := r.tend(ctx, e); err != nil {
			r.opts.Log.WarnContext(ctx, "a key epoch could not be updated; it will be tried again",
				slog.String("kid", e.record.KeyID), slog.Any("cause", err))
		}
	}
	if r.opts.Now().Sub(all.newest().record.Created) < r.opts.Period+r.jitter() {
		return
	}
	if err := r.succeed(ctx, all); err != nil {
		r.opts.Log.ErrorContext(ctx, "the key ring could not be rotated; it will be tried again", slog.Any("cause", err))
	}
}

// succeed inserts the epoch after the newest, and reads the ring again.
//
// An instance that could not unwrap the newest epoch today has been left
// behind by a change of the wrapping key. What it wraps might be unreadable to
// all others, so it leaves the rotation to them.
func (r *Ring) succeed(ctx context.Context, all *epochs) error {
	newest := all.newest()
	if id := newest.record.Wrapping; r.opts.Wrapper.Standing(id) == Unknown {
		return fmt.Errorf("keyring: epoch %d was wrapped by %s, and this process has %s: %s: %w",
			newest.sequence(), id, r.opts.Wrapper.ID(), remedy(id), ErrWrongKey)
	}
	now := r.opts.Now()
	if newest.record.Activates.After(now) {
		return nil
	}
	if err := r.insert(ctx, newest.sequence()+1, now, now.Add(r.opts.PublishBefore)); err != nil {
		return err
	}
	return r.reload(ctx)
}

// tend re-wraps an epoch that a previous wrapping key wrapped, and says when
// it expires once its successor signs. A conflict means that another instance
// did so.
func (r *Ring) tend(ctx context.Context, e *epoch) error {
	row, rec := e.row, e.record
	if e.keys != nil && r.opts.Wrapper.Standing(rec.Wrapping) == Previous {
		var err error
		if rec.Wrapping, rec.Wrapped, err = wrap(ctx, r.opts.Wrapper, e.keys.epoch); err != nil {
			return err
		}
	}
	// An end once given is not brought forward: artefacts may rely on it. It
	// is taken back from an epoch that is the newest after its successor was
	// deleted.
	if end := r.end(e); end.After(row.Expires) || e.succeeded.IsZero() {
		row.Expires = end
	}
	if rec.Wrapping == e.record.Wrapping && row.Expires.Equal(e.row.Expires) {
		return nil
	}
	next, err := rec.row(e.sequence())
	if err != nil {
		return err
	}
	row.Value = next.Value
	switch _, err := r.opts.Table.Replace(ctx, row); {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("keyring: update epoch %d: %w", e.sequence(), err)
	}
	r.opts.Log.InfoContext(ctx, "a key epoch was updated", slog.String("kid", rec.KeyID),
		slog.String("wrapping", rec.Wrapping), slog.Time("expires", row.Expires))
	return nil
}

// end is when nothing that e signed can be valid any more; zero if e may sign
// for an unknown time yet.
func (r *Ring) end(e *epoch) time.Time {
	if e.succeeded.IsZero() || e.succeeded.After(r.opts.Now()) {
		return time.Time{}
	}
	return e.succeeded.Add(Overlap + r.opts.Retention + Margin).UTC().Truncate(time.Second)
}

// drawJitter spreads instances over the time when rotation falls due.
func (r *Ring) drawJitter() time.Duration { return r.random(r.opts.Period / 60) }

// random is between zero and limit, and limit if there is no randomness.
func (r *Ring) random(limit time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(r.opts.Rand, b[:]); err != nil || limit <= 0 {
		return limit
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(limit))
}
