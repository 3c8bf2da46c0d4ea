package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// flaky is a wrapping key whose calls fault may fail.
type flaky struct {
	keyring.Wrapper
	fault func() error
}

func (f flaky) Wrap(ctx context.Context, key []byte) (string, []byte, error) {
	if err := f.fault(); err != nil {
		return "", nil, err
	}
	return f.Wrapper.Wrap(ctx, key)
}

func (f flaky) Unwrap(ctx context.Context, id string, wrapped []byte) ([]byte, error) {
	if err := f.fault(); err != nil {
		return nil, err
	}
	return f.Wrapper.Unwrap(ctx, id, wrapped)
}

// One call of the table or of the wrapping key fails and the others do not: wherever
// that is, somebody is told, nothing is lost, and what was to be done is done when it
// is tried again.
func TestOneFaultOfStorageOrWrappingKeyIsToldAndNothingIsLost(t *testing.T) {
	rotated := func(t *testing.T, table store.Table, c *clocktest.Clock) {
		r := newRing(t, table, masterKey(t, keyA), c)
		load(t, r)
		rotate(t, r)
		c.Advance(time.Hour)
	}
	wantEpochs := func(n int) func(*testing.T, store.Table) {
		return func(t *testing.T, table store.Table) {
			if list := rows(t, table); len(list) != n {
				t.Errorf("%d epochs, want %d", len(list), n)
			}
		}
	}
	for name, tt := range map[string]struct {
		set  func(t *testing.T, table store.Table, c *clocktest.Clock)
		do   func(ctx context.Context, r *keyring.Ring) error
		done func(t *testing.T, table store.Table)
	}{
		"the first start": {
			set: func(*testing.T, store.Table, *clocktest.Clock) {},
			do:  func(ctx context.Context, r *keyring.Ring) error { return r.Load(ctx) }, done: wantEpochs(1),
		},
		"a start": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error { return r.Load(ctx) }, done: func(t *testing.T, table store.Table) {
			if first := rows(t, table)[0]; first.Expires.IsZero() {
				t.Error("the first epoch has no end")
			}
		}},
		"a rotation that is due": {
			set:  func(t *testing.T, table store.Table, c *clocktest.Clock) { rotated(t, table, c); c.Advance(31 * day) },
			do:   func(ctx context.Context, r *keyring.Ring) error { return r.Load(ctx) },
			done: wantEpochs(3),
		},
		"rotate": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error { return r.Rotate(ctx) }, done: wantEpochs(3)},
		"seal": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error {
			_, err := r.Seal(ctx, keyring.FormToken, nil, nil)
			return err
		}, done: wantEpochs(2)},
		"sign": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error {
			_, _, err := r.Signing(ctx, keyring.AccessToken)
			return err
		}, done: wantEpochs(2)},
		"ready": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error { return r.Ready(ctx) }, done: wantEpochs(2)},
		"list": {set: rotated, do: func(ctx context.Context, r *keyring.Ring) error {
			list, err := r.List(ctx)
			for _, e := range list {
				err = errors.Join(err, e.Locked)
			}
			return err
		}, done: wantEpochs(2)},
		"retire an old epoch": {
			set:  rotated,
			do:   func(ctx context.Context, r *keyring.Ring) error { return r.Retire(ctx, 1) },
			done: func(t *testing.T, table store.Table) { wantEpochs(2)(t, table); wantGone(t, table, 0) },
		},
		"retire the newest": {
			set:  rotated,
			do:   func(ctx context.Context, r *keyring.Ring) error { return r.Retire(ctx, 2) },
			done: func(t *testing.T, table store.Table) { wantGone(t, table, 1) },
		},
		"change the wrapping key": {
			set: rotated,
			do:  func(ctx context.Context, r *keyring.Ring) error { _, err := r.Rewrap(ctx); return err },
			done: func(t *testing.T, table store.Table) {
				for _, e := range epochsOf(t, table) {
					if e.Wrapping != masterKey(t, keyB).ID() {
						t.Errorf("epoch %s is wrapped by %s", e.KeyID, e.Wrapping)
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n, faults := int32(1), true; faults; n++ {
				c, table := clocktest.New(), newTable(t)
				tt.set(t, table, c)
				sealed := seal(t, newRing(t, table, masterKey(t, keyA), c), keyring.RefreshHandle, "", "h")
				if name == "the first start" {
					sealed, table = "", newTable(t)
				}
				var calls atomic.Int32
				fault := func() error {
					if calls.Add(1) == n {
						return errStorage
					}
					return nil
				}
				wire := storetest.Instrument(table)
				wire.Before(storetest.On(fault))
				current, previous := keyA, []string(nil)
				if name == "change the wrapping key" {
					current, previous = keyB, []string{keyA}
				}
				var log bytes.Buffer
				r := keyring.New(keyring.Options{Table: wire, Wrapper: flaky{masterKey(t, current, previous...), fault}, Now: c.Now,
					Log: slog.New(slog.NewTextHandler(&log, nil))})
				err := tt.do(t.Context(), r)
				faults = calls.Load() >= n
				wire.Repair()
				calls.Store(n)
				told := strings.Contains(log.String(), errStorage.Error())
				if faults && !errors.Is(err, errStorage) && !told || !faults && err != nil {
					t.Fatalf("call %d fails: %v, and logged is %s", n, err, log.String())
				}
				if faults {
					c.Advance(keyring.UnknownInterval)
					load(t, r) // as Run does
					err = tt.do(t.Context(), r)
				}
				if err != nil && !errors.Is(err, keyring.ErrNoEpoch) {
					t.Fatalf("call %d failed, and then: %v", n, err)
				}
				tt.done(t, table)
				if again := newRing(t, table, masterKey(t, current, previous...), c); again.Ready(t.Context()) != nil {
					t.Fatalf("call %d failed, and then: %v", n, again.Ready(t.Context()))
				} else if got, err := again.Open(t.Context(), keyring.RefreshHandle, nil, sealed); sealed != "" && !errors.Is(err, keyring.ErrRetired) && string(got) != "h" {
					t.Fatalf("call %d failed, and then: %v", n, err)
				}
			}
		})
	}
}

func wantGone(t *testing.T, table store.Table, n int) {
	t.Helper()
	for k, e := range epochsOf(t, table) {
		if gone := string(e.Wrapped) == "retired"; gone != (k == n) {
			t.Errorf("epoch %d is retired: %t", k+1, gone)
		}
	}
}
