package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

func TestStorageFaultIsNeverTakenForAForgery(t *testing.T) {
	c := newClock()
	table := &faulty{Table: newTable(t)}
	r := newRing(t, table, masterKey(t, keyA), c)
	stranger := seal(t, newRing(t, newTable(t), masterKey(t, keyA), c), keyring.RefreshHandle, "", "x")

	table.broken.Store(true)
	if _, err := r.Open(t.Context(), keyring.RefreshHandle, nil, stranger); !errors.Is(err, errStorage) {
		t.Errorf("cold: %v, want the storage fault", err)
	}
	if err := r.Ready(t.Context()); !errors.Is(err, errStorage) {
		t.Errorf("Ready: %v, want the storage fault", err)
	}
	table.broken.Store(false)
	c.advance(2 * time.Second)
	own := seal(t, r, keyring.RefreshHandle, "", "own") // loads by itself

	table.broken.Store(true)
	c.advance(time.Minute)
	opens(t, r, keyring.RefreshHandle, "", own, "own")
	if _, err := r.Verifying(t.Context(), keyring.AccessToken, stranger[:12]); !errors.Is(err, errStorage) {
		t.Errorf("unknown id while storage is away: %v, want the fault", err)
	}
	table.broken.Store(false)
	c.advance(2 * time.Second)
	if _, err := r.Verifying(t.Context(), keyring.AccessToken, stranger[:12]); err != keyring.ErrNotOurs {
		t.Errorf("unknown id: %v, want ErrNotOurs", err)
	}
}

func TestUnknownKeyIDsReadTheRingOnceInThirtySeconds(t *testing.T) {
	c := newClock()
	table := &faulty{Table: newTable(t)}
	r := newRing(t, table, masterKey(t, keyA), c)
	load(t, r)
	flood := func() {
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := r.Verifying(t.Context(), keyring.AccessToken, "forged-kid--"); err != keyring.ErrNotOurs {
					t.Errorf("got %v, want ErrNotOurs", err)
				}
			})
		}
		group.Wait()
	}
	before := table.lists.Load()
	flood()
	if n := table.lists.Load() - before; n != 0 {
		t.Errorf("%d reads right after a read", n)
	}
	c.advance(keyring.UnknownInterval)
	flood()
	flood()
	if n := table.lists.Load() - before; n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

// stalled is a table whose listings wait.
type stalled struct {
	store.Table
	entered, release chan struct{}
}

func (s *stalled) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	select {
	case <-s.release:
		return s.Table.List(ctx, span, from)
	case <-ctx.Done():
		return store.Page{}, ctx.Err()
	}
}

func TestCallerThatGivesUpDoesNotEndTheLoadForOthers(t *testing.T) {
	table := &stalled{newTable(t), make(chan struct{}, 1), make(chan struct{})}
	r := newRing(t, table, masterKey(t, keyA), newClock())
	ctx, cancel := context.WithCancel(t.Context())
	impatient := make(chan error, 1)
	go func() { impatient <- r.Load(ctx) }()
	<-table.entered
	patient := make(chan error, 1)
	go func() { patient <- r.Load(t.Context()) }()
	cancel()
	if err := <-impatient; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	close(table.release)
	if err := <-patient; err != nil {
		t.Error(err)
	}
}

func TestStalledStorageIsGivenUp(t *testing.T) {
	table := &stalled{newTable(t), make(chan struct{}, 1), make(chan struct{})}
	r := keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyA), LoadTimeout: 50 * time.Millisecond})
	if err := r.Load(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
}

func TestLostAnswerToTheFirstInsertStartsNoSecondRing(t *testing.T) {
	c := newClock()
	table := newTable(t)
	r := newRing(t, &deaf{table}, masterKey(t, keyA), c)
	if err := r.Load(t.Context()); !errors.Is(err, errStorage) {
		t.Fatalf("got %v, want the unknown outcome", err)
	}
	c.advance(time.Minute)
	load(t, r)
	if n := len(rows(t, table)); n != 1 {
		t.Errorf("%d epochs, want the one that was inserted", n)
	}
}

// deaf is a table that inserts and then loses the answer.
type deaf struct{ store.Table }

func (d *deaf) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	_, _ = d.Table.Insert(ctx, row)
	return "", errStorage
}
