package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"entramcp/handler/store"
)

// Run loads the ring and keeps it fresh until ctx ends. One goroutine of every
// instance runs it.
func (r *Ring) Run(ctx context.Context) {
	for {
		wait := ReloadInterval + rand.N(ReloadInterval/4)
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

// maintain does what is due for the ring just read. Several instances may do so at
// once: each step is one insert or one conditional update.
func (r *Ring) maintain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	all := r.epochs.Load()
	for _, e := range all.list {
		if err := r.update(ctx, e, false); err != nil {
			r.opts.Log.WarnContext(ctx, "a key epoch could not be updated; it will be tried again",
				slog.String("kid", e.record.KeyID), slog.Any("cause", err))
		}
	}
	newest := all.newest()
	switch age := r.opts.Now().Sub(newest.record.Created); {
	case !newest.retired() && age < Period+r.jitter:
		return
	case r.opts.Wrapper.Status(newest.record.Wrapping) == Previous:
		// Not while instances may run that could not unwrap the next one.
		return
	}
	if err := r.addEpoch(ctx, all); err != nil {
		r.opts.Log.ErrorContext(ctx, "the key ring could not be rotated; it will be tried again", slog.Any("cause", err))
	}
}

// addEpoch inserts the epoch after the newest, and reads the ring again.
func (r *Ring) addEpoch(ctx context.Context, all *epochs) error {
	newest, now := all.newest(), r.opts.Now()
	if err := r.mayAdd(newest); err != nil || newest.record.Activates.After(now) {
		return err
	}
	if err := r.insert(ctx, newest.sequence()+1, now, now.Add(PublishBefore)); err != nil {
		return err
	}
	return r.reload(ctx)
}

// mayAdd refuses an instance that cannot unwrap the newest epoch: it has an outdated
// wrapping key, and the other instances might not be able to unwrap what it wraps.
func (r *Ring) mayAdd(newest *epoch) error {
	if id := newest.record.Wrapping; r.opts.Wrapper.Status(id) == Unknown {
		return fmt.Errorf("keyring: epoch %d was wrapped by %s, and this process has %s: %s: %w",
			newest.sequence(), id, r.opts.Wrapper.ID(), remedy(id), ErrWrongKey)
	}
	return nil
}

// update writes what has become due for an epoch: that its wrapping key is being
// changed, or has been, and when it expires. With rewrapNow it does not wait for
// RewrapAfter. A conflict is not an error: another instance has written it.
func (r *Ring) update(ctx context.Context, e *epoch, rewrapNow bool) error {
	row, rec := e.row, e.record
	if err := r.rewrap(ctx, e, &rec, rewrapNow); err != nil {
		return err
	}
	// An expiry is never moved to an earlier time: artefacts may rely on it. It is
	// removed from an epoch that is the newest again because its successor was
	// deleted.
	if end := r.end(e); end.After(row.Expires) || e.superseded.IsZero() {
		row.Expires = end
	}
	if rec.Wrapping == e.record.Wrapping && rec.Rewrap == e.record.Rewrap && row.Expires.Equal(e.row.Expires) {
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

// rewrap changes rec where another key than the current one wrapped the epoch: first
// it notes since when; once every instance has had the time to get the current key,
// or at once if now is set, it wraps the epoch again.
func (r *Ring) rewrap(ctx context.Context, e *epoch, rec *record, now bool) (err error) {
	w := r.opts.Wrapper
	if e.keys == nil || w.Status(rec.Wrapping) != Previous {
		return nil
	}
	if !now && (rec.Rewrap == nil || rec.Rewrap.With != w.ID()) {
		rec.Rewrap = &rewrap{With: w.ID(), Since: r.opts.Now().UTC().Truncate(time.Second)}
		r.opts.Log.InfoContext(ctx, "the wrapping key is being changed; keep the previous one until the epochs are wrapped by the new one",
			slog.String("kid", rec.KeyID), slog.String("wrapping", rec.Wrapping), slog.Time("rewrapped_after", rec.Rewrap.Since.Add(RewrapAfter)))
		return nil
	}
	if !now && r.opts.Now().Before(rec.Rewrap.Since.Add(RewrapAfter)) {
		return nil
	}
	rec.Rewrap = nil
	rec.Wrapping, rec.Wrapped, err = wrap(ctx, w, []byte(e.keys.epoch.Reveal()))
	return err
}

// end is when everything that e signed has expired; zero if it is not known until
// when e signs.
func (r *Ring) end(e *epoch) time.Time {
	if e.superseded.IsZero() || e.superseded.After(r.opts.Now()) {
		return time.Time{}
	}
	last := e.superseded
	if e.record.Retired.After(last) {
		last = e.record.Retired
	}
	return last.Add(Overlap + r.opts.Retention + Margin).UTC().Truncate(time.Second)
}
