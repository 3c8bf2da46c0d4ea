package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"entramcp/handler/store"
)

// Epoch is what an operator is shown of an epoch.
type Epoch struct {
	Sequence uint32
	KeyID    string
	Created  time.Time
	// Activates is when it began, or will begin, to sign.
	Activates time.Time
	// Expires is zero as long as it signs.
	Expires time.Time
	// Retired is zero unless an operator ended it.
	Retired time.Time
	// Wrapping names the key that wraps it.
	Wrapping string
	// Signs says that new artefacts are made with it.
	Signs bool
	// Locked is why this process cannot use it; nil if it can.
	Locked error
}

// List reads the epochs from the table, the oldest first. It makes none and changes
// none.
func (r *Ring) List(ctx context.Context) ([]Epoch, error) {
	list, err := r.list(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	now := r.opts.Now()
	all := newEpochs(list, now)
	for _, e := range all.list {
		if !e.retired() {
			_, e.locked = unwrap(ctx, r.opts.Wrapper, e)
		}
	}
	signing, _ := all.signing(now) // without one, none is marked in the list
	epochs := make([]Epoch, len(all.list))
	for i, e := range all.list {
		rec := e.record
		epochs[i] = Epoch{
			Sequence: e.sequence(), KeyID: rec.KeyID, Created: rec.Created, Activates: rec.Activates, Expires: e.row.Expires,
			Retired: rec.Retired, Wrapping: rec.Wrapping, Signs: e == signing, Locked: e.locked,
		}
	}
	return epochs, nil
}

// Newest is when the newest epoch of the ring in memory was made; zero before the
// first reading.
func (r *Ring) Newest() time.Time {
	all := r.epochs.Load()
	if all == nil {
		return time.Time{}
	}
	return all.newest().record.Created
}

// Rotate publishes the next epoch now; it signs after PublishBefore, like any other.
// If the newest epoch does not sign yet, a rotation is under way already and Rotate
// does nothing. Earlier epochs still verify.
func (r *Ring) Rotate(ctx context.Context) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	return r.addEpoch(ctx, r.epochs.Load())
}

// ErrNoEpoch says that the ring has no epoch of that number that is not retired.
var ErrNoEpoch = errors.New("keyring: no such epoch")

// Retire ends epochs that may have leaked: their keys are destroyed, and what they
// have signed or sealed is ErrRetired to every instance that reads the ring from now
// on. If the newest is among them, another replaces it, which signs at once. The
// caller must make the other instances read the ring.
//
// It fails with ErrNoEpoch, and changes nothing, if one of them does not exist or is
// already retired. After any other error it can be repeated.
func (r *Ring) Retire(ctx context.Context, sequences ...uint32) error {
	if err := r.reload(ctx); err != nil {
		return err
	}
	all := r.epochs.Load()
	var retiring []*epoch
	for _, n := range sequences {
		i := slices.IndexFunc(all.list, func(e *epoch) bool { return e.sequence() == n && !e.retired() })
		if i < 0 {
			return fmt.Errorf("%w: %d", ErrNoEpoch, n)
		}
		retiring = append(retiring, all.list[i])
	}
	if newest := all.newest(); slices.Contains(retiring, newest) {
		if err := r.replaceNewest(ctx, newest); err != nil {
			return err
		}
	}
	for _, e := range retiring {
		if err := r.retire(ctx, e.row.Key); err != nil {
			return err
		}
	}
	return r.reload(ctx)
}

// replaceNewest inserts an epoch that has been active since the newest was: it
// signs at once on every instance, whatever the clocks say.
func (r *Ring) replaceNewest(ctx context.Context, newest *epoch) error {
	if err := r.mayAdd(newest); err != nil {
		return err
	}
	return r.insert(ctx, newest.sequence()+1, r.opts.Now(), newest.record.Activates)
}

// retire destroys one epoch. Instances may be updating its row meanwhile.
func (r *Ring) retire(ctx context.Context, key string) error {
	for {
		row, err := r.opts.Table.Get(ctx, Partition, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return fmt.Errorf("keyring: read epoch %s: %w", key, err)
		}
		e, err := parseEpoch(row)
		if err != nil || e.retired() {
			return err
		}
		rec := e.record
		rec.Retired, rec.Rewrap, rec.Wrapped = r.opts.Now().UTC().Truncate(time.Second), nil, []byte("retired")
		next, err := rec.row(e.sequence())
		if err != nil {
			return err
		}
		row.Value = next.Value
		_, err = r.opts.Table.Replace(ctx, row)
		switch {
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return fmt.Errorf("keyring: retire epoch %d: %w", e.sequence(), err)
		}
		r.opts.Log.WarnContext(ctx, "a key epoch was retired", slog.String("kid", rec.KeyID))
		r.audit(ctx, "retired", e.sequence())
		return nil
	}
}

// Rewrap wraps every epoch that a previous wrapping key wrapped with the current one,
// without waiting for RewrapAfter: every instance must have the current key. It
// returns how many it wrapped, which is not zero if it fails midway.
func (r *Ring) Rewrap(ctx context.Context) (int, error) {
	if err := r.reload(ctx); err != nil {
		return 0, err
	}
	n := 0
	for _, e := range r.epochs.Load().list {
		if e.keys == nil || r.opts.Wrapper.Status(e.record.Wrapping) != Previous {
			continue
		}
		if err := r.update(ctx, e, true); err != nil {
			return n, err
		}
		n++
	}
	return n, r.reload(ctx)
}
