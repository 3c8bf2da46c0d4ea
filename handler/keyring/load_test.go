package keyring_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store/storetest"
)

func TestStorageFaultIsNeverTakenForAForgery(t *testing.T) {
	c := clocktest.New()
	table := storetest.Instrument(newTable(t))
	r := newRing(t, table, masterKey(t, keyA), c)
	stranger := seal(t, newRing(t, newTable(t), masterKey(t, keyA), c), keyring.RefreshHandle, "", "x")

	table.Before(storetest.Fail(errStorage))
	if _, err := r.Open(t.Context(), keyring.RefreshHandle, nil, stranger); !errors.Is(err, errStorage) {
		t.Errorf("cold: %v, want the storage fault", err)
	}
	if err := r.Ready(t.Context()); !errors.Is(err, errStorage) {
		t.Errorf("Ready: %v, want the storage fault", err)
	}
	table.Repair()
	c.Advance(2 * time.Second)
	own := seal(t, r, keyring.RefreshHandle, "", "own") // loads by itself

	table.Before(storetest.Fail(errStorage))
	c.Advance(time.Minute)
	opens(t, r, keyring.RefreshHandle, "", own, "own")
	if _, err := r.Verifying(t.Context(), keyring.AccessToken, stranger[:12], time.Time{}); !errors.Is(err, errStorage) {
		t.Errorf("unknown id while storage is away: %v, want the fault", err)
	}
	table.Repair()
	c.Advance(2 * time.Second)
	if _, err := r.Verifying(t.Context(), keyring.AccessToken, stranger[:12], time.Time{}); err != keyring.ErrNotOurs {
		t.Errorf("unknown id: %v, want ErrNotOurs", err)
	}
}

func TestUnknownKeyIDsReadTheRingOnceInThirtySeconds(t *testing.T) {
	c := clocktest.New()
	table := storetest.Instrument(newTable(t))
	r := newRing(t, table, masterKey(t, keyA), c)
	load(t, r)
	flood := func() {
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := r.Verifying(t.Context(), keyring.AccessToken, "forged-kid--", time.Time{}); err != keyring.ErrNotOurs {
					t.Errorf("got %v, want ErrNotOurs", err)
				}
			})
		}
		group.Wait()
	}
	before := table.Count(storetest.List)
	want := func(n int) {
		t.Helper()
		if got := table.Count(storetest.List) - before; got != n {
			t.Errorf("%d reads, want %d", got, n)
		}
	}
	flood()
	flood()
	want(1)
	c.Advance(keyring.UnknownInterval - time.Second)
	load(t, r) // as Run does: it may be too early for the next unknown id
	flood()
	want(2)
	c.Advance(time.Second)
	flood()
	flood()
	want(3)
}

// A token that was issued after the ring was read last may be of an epoch that
// is newer yet. What says that it comes from the future is forged.
func TestUnknownKeyIDIsAnOutageOnlyForWhatIsNewerThanTheRing(t *testing.T) {
	c := clocktest.New()
	r := newRing(t, newTable(t), masterKey(t, keyA), c)
	verify := func(issued time.Time) error {
		_, err := r.Verifying(t.Context(), keyring.AccessToken, "unknown-kid-", issued)
		return err
	}
	if err := verify(time.Time{}); err != keyring.ErrNotOurs { // reads the ring
		t.Fatal(err)
	}
	read := c.Now()
	c.Advance(10*time.Second + 500*time.Millisecond)
	for name, tt := range map[string]struct {
		issued time.Time
		refuse bool
	}{
		"before the reading":             {read.Add(-time.Second), true},
		"in the second of the reading":   {read, false},
		"after the reading":              {read.Add(10 * time.Second), false},
		"by a clock that is a bit ahead": {read.Add(30 * time.Second), false},
		"in the future":                  {read.Add(time.Minute), true},
		"without saying when":            {time.Time{}, true},
	} {
		err := verify(tt.issued)
		if err == nil || errors.Is(err, keyring.ErrNotOurs) != tt.refuse {
			t.Errorf("issued %s: %v", name, err)
		}
	}
	c.Advance(20 * time.Second) // the ring is read again
	if err := verify(read.Add(10 * time.Second)); err != keyring.ErrNotOurs {
		t.Errorf("after another reading: %v", err)
	}
}

// A storage outage under load is not made worse by the requests that meet it.
func TestFailedLoadIsNotRepeatedByEveryRequest(t *testing.T) {
	c := clocktest.New()
	table := storetest.Instrument(newTable(t))
	table.Before(storetest.Fail(errStorage))
	r := newRing(t, table, masterKey(t, keyA), c)
	for second := range 4 {
		for range 50 {
			if _, err := r.Seal(t.Context(), keyring.RefreshHandle, nil, nil); !errors.Is(err, errStorage) {
				t.Fatalf("seal: %v", err)
			}
			if _, _, err := r.Signing(t.Context(), keyring.AccessToken); !errors.Is(err, errStorage) {
				t.Fatalf("sign: %v", err)
			}
		}
		if n := table.Count(storetest.List); n != 1+second/2 {
			t.Errorf("%d reads after %d s, want one in two seconds", n, second)
		}
		c.Advance(time.Second)
	}
	table.Repair()
	load(t, r)
	table.Before(storetest.Fail(errStorage))
	before := table.Count(storetest.List)
	for range 50 {
		if _, err := r.Verifying(t.Context(), keyring.AccessToken, "unknown-kid-", time.Time{}); !errors.Is(err, errStorage) {
			t.Fatalf("verify: %v", err)
		}
	}
	if n := table.Count(storetest.List) - before; n != 1 {
		t.Errorf("%d reads for unknown ids", n)
	}
}

// Of many that find the ring too old, some come to read it when another's reading is
// just over: what that has brought serves them, too, be it the ring or a failure.
func TestReadingThatIsJustOverServesWhoComesLate(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(t *testing.T, r *keyring.Ring, table *storetest.Instrumented)
		ask  func(r *keyring.Ring) error
		want error
	}{
		"the ring": {
			set: func(t *testing.T, r *keyring.Ring, table *storetest.Instrumented) {
				table.Before(storetest.Once(func() error { return errStorage }, storetest.List))
				if err := r.Load(t.Context()); !errors.Is(err, errStorage) {
					t.Fatal(err)
				}
			},
			ask: func(r *keyring.Ring) error {
				_, err := r.Seal(t.Context(), keyring.RefreshHandle, nil, nil)
				return err
			},
		},
		"a failure": {
			set: func(t *testing.T, r *keyring.Ring, table *storetest.Instrumented) {
				table.Before(storetest.Fail(errStorage))
				if err := r.Load(t.Context()); !errors.Is(err, errStorage) {
					t.Fatal(err)
				}
			},
			ask: func(r *keyring.Ring) error {
				_, err := r.Seal(t.Context(), keyring.RefreshHandle, nil, nil)
				return err
			},
			want: errStorage,
		},
		"the ring, for an unknown id": {
			set: func(t *testing.T, r *keyring.Ring, _ *storetest.Instrumented) {
				load(t, r)
				if _, err := r.Verifying(t.Context(), keyring.AccessToken, "unknown-kid-", time.Time{}); err != keyring.ErrNotOurs {
					t.Fatal(err)
				}
			},
			ask: func(r *keyring.Ring) error {
				_, err := r.Verifying(t.Context(), keyring.AccessToken, "unknown-kid-", time.Time{})
				return err
			},
			want: keyring.ErrNotOurs,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, table := clocktest.New(), storetest.Instrument(newTable(t))
			load(t, newRing(t, table, masterKey(t, keyA), c))
			// The clock is read after it was found that the ring has to be.
			var meanwhile func()
			r := keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyA), Log: slog.New(slog.DiscardHandler), Now: func() time.Time {
				if do := meanwhile; do != nil {
					meanwhile = nil
					do()
				}
				return c.Now()
			}})
			tt.set(t, r, table)
			c.Advance(keyring.UnknownInterval)
			before := table.Count(storetest.List)
			meanwhile = func() {
				if err := tt.ask(r); !errors.Is(err, tt.want) {
					t.Errorf("who came first: %v", err)
				}
			}
			if err := tt.ask(r); !errors.Is(err, tt.want) {
				t.Errorf("who came late: %v", err)
			}
			if n := table.Count(storetest.List) - before; meanwhile != nil || n != 1 {
				t.Errorf("%d reads", n)
			}
		})
	}
}

// An instance that was left behind by a change of the wrapping key has nothing to
// sign with, which no number of requests changes.
func TestRingThatCannotSignIsNotReadByEveryRequest(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	old := storetest.Instrument(table)
	r := newRing(t, old, masterKey(t, keyA), c)
	load(t, r)
	if n, err := newRing(t, table, masterKey(t, keyB, keyA), c).Rewrap(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	retire(t, newRing(t, table, masterKey(t, keyB), c), nil, 1)
	load(t, newRing(t, table, masterKey(t, keyB), c))
	if err := r.Load(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Fatalf("loaded: %v", err)
	}
	c.Advance(keyring.Overlap + time.Second)
	before := old.Count(storetest.List)
	for range 50 {
		if _, err := r.Seal(t.Context(), keyring.RefreshHandle, nil, nil); err == nil {
			t.Fatal("sealed")
		}
	}
	if n := old.Count(storetest.List) - before; n != 1 {
		t.Errorf("%d reads", n)
	}
	if err := r.Ready(t.Context()); err == nil {
		t.Error("ready")
	}
}

func TestReadyReportsAReloadThatFailed(t *testing.T) {
	c := clocktest.New()
	table := storetest.Instrument(newTable(t))
	r := newRing(t, table, masterKey(t, keyA), c)
	load(t, r)
	table.Before(storetest.Fail(errStorage))
	if err := r.Load(t.Context()); !errors.Is(err, errStorage) {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); !errors.Is(err, errStorage) {
		t.Errorf("got %v, want the fault", err)
	}
	if _, err := r.Seal(t.Context(), keyring.RefreshHandle, nil, nil); err != nil {
		t.Errorf("the ring in memory no longer seals: %v", err)
	}
	table.Repair()
	load(t, r)
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	c.Advance(keyring.Overlap + time.Second) // nothing has read it since
	if err := r.Ready(t.Context()); err == nil {
		t.Error("ready with a ring that is too old to sign with")
	}
}

// The first epoch is read back before anything relies on it.
func TestFirstEpochThatGoesAtOnceIsAnError(t *testing.T) {
	table := newTable(t)
	wire := storetest.Instrument(table)
	wire.After(storetest.On(func() error {
		row := rows(t, table)[0]
		return table.Delete(t.Context(), row.Partition, row.Key, row.ETag)
	}, storetest.Insert))
	if err := newRing(t, wire, masterKey(t, keyA), clocktest.New()).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "the first epoch was inserted") {
		t.Errorf("loaded: %v", err)
	}
}

// stall holds listings up until release is closed. The first one is told to
// entered.
func stall(table *storetest.Instrumented) (entered <-chan struct{}, release chan<- struct{}) {
	in, out := make(chan struct{}, 1), make(chan struct{})
	table.Before(func(c storetest.Call) error {
		if c.Op != storetest.List {
			return nil
		}
		select {
		case in <- struct{}{}:
		default:
		}
		select {
		case <-out:
			return nil
		case <-c.Context.Done():
			return c.Context.Err()
		}
	})
	return in, out
}

func TestCallerThatGivesUpDoesNotEndTheLoadForOthers(t *testing.T) {
	table := storetest.Instrument(newTable(t))
	entered, release := stall(table)
	r := newRing(t, table, masterKey(t, keyA), clocktest.New())
	ctx, cancel := context.WithCancel(t.Context())
	impatient := make(chan error, 1)
	go func() { impatient <- r.Load(ctx) }()
	<-entered
	patient := make(chan error, 1)
	go func() { patient <- r.Load(t.Context()) }()
	cancel()
	if err := <-impatient; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	close(release)
	if err := <-patient; err != nil {
		t.Error(err)
	}
}

func TestStalledStorageIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := storetest.Instrument(nil)
		stall(table)
		r := keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyA)})
		began := time.Now()
		if err := r.Load(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestLostAnswerToTheFirstInsertStartsNoSecondRing(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	deaf := storetest.Instrument(table)
	deaf.After(storetest.Fail(errStorage, storetest.Insert))
	r := newRing(t, deaf, masterKey(t, keyA), c)
	if err := r.Load(t.Context()); !errors.Is(err, errStorage) {
		t.Fatalf("got %v, want the unknown outcome", err)
	}
	deaf.Repair()
	c.Advance(time.Minute)
	load(t, r)
	if n := len(rows(t, table)); n != 1 {
		t.Errorf("%d epochs, want the one that was inserted", n)
	}
}
