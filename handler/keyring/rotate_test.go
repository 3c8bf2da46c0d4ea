package keyring_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store/storetest"
)

const day = 24 * time.Hour

func TestInstancesThatStartTogetherShareOneRing(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	instances := make([]*keyring.Ring, 12)
	var group sync.WaitGroup
	for i := range instances {
		instances[i] = newRing(t, table, masterKey(t, keyA), c)
		group.Go(func() {
			if err := instances[i].Load(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(rows(t, table)); n != 1 {
		t.Fatalf("%d epochs, want 1", n)
	}
	for _, a := range instances {
		sealed := seal(t, a, keyring.Transaction, "", "x") // the first epoch signs at once
		for _, b := range instances {
			opens(t, b, keyring.Transaction, "", sealed, "x")
		}
	}
}

func TestInstancesThatRotateTogetherAddOneEpoch(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	instances := make([]*keyring.Ring, 8)
	for i := range instances {
		instances[i] = newRing(t, table, masterKey(t, keyA), c)
		load(t, instances[i])
	}
	c.Advance(31 * day) // past the period and its jitter
	var group sync.WaitGroup
	for _, r := range instances {
		group.Go(func() {
			if err := r.Load(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(rows(t, table)); n != 2 {
		t.Fatalf("%d epochs, want 2", n)
	}
}

func TestEpochIsReadableTenMinutesBeforeItSigns(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	first := signingID(t, r)
	c.Advance(29 * day)
	load(t, r)
	if n := len(rows(t, table)); n != 1 {
		t.Fatalf("rotated after 29 days: %d epochs", n)
	}
	c.Advance(2 * day)
	load(t, r)
	if n := len(rows(t, table)); n != 2 {
		t.Fatalf("not rotated after 31 days: %d epochs", n)
	}
	c.Advance(10*time.Minute - time.Second)
	if kid := signingID(t, r); kid != first {
		t.Error("the new epoch signs before every instance can have read it")
	}
	c.Advance(time.Second)
	second := signingID(t, r)
	if second == first {
		t.Error("the new epoch does not sign after ten minutes")
	}
	if _, err := r.Verifying(t.Context(), keyring.AccessToken, first, time.Time{}); err != nil {
		t.Errorf("the first epoch no longer verifies: %v", err)
	}
}

// An instance that last read the ring before the rotation, and whose clock has
// not reached the activation, opens what the new epoch sealed.
func TestInstanceThatMissedTheRotationOpensWhatFollowed(t *testing.T) {
	c := clocktest.New()
	behind := clocktest.At(c.Now().Add(-5 * time.Minute))
	table := newTable(t)
	asleep := newRing(t, table, masterKey(t, keyA), behind)
	load(t, asleep)
	r := newRing(t, table, masterKey(t, keyA), c)
	rotate(t, r)
	c.Advance(10 * time.Minute)
	behind.Advance(10 * time.Minute)
	opens(t, asleep, keyring.RefreshHandle, "", seal(t, r, keyring.RefreshHandle, "", "h"), "h")
}

func TestRotateWhileARotationIsUnderWayAddsNothing(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	a, b := newRing(t, table, masterKey(t, keyA), c), newRing(t, table, masterKey(t, keyA), c)
	for _, r := range []*keyring.Ring{a, b, a} {
		rotate(t, r)
	}
	if n := len(rows(t, table)); n != 2 {
		t.Fatalf("%d epochs, want 2", n)
	}
	c.Advance(10 * time.Minute)
	rotate(t, b)
	if n := len(rows(t, table)); n != 3 {
		t.Fatalf("%d epochs, want 3", n)
	}
}

func TestEpochOutlivesAllItSigned(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	// An instance that reads the ring just before the rotation and then loses
	// storage is the last one to sign with the old epoch.
	cut := storetest.Instrument(table)
	stale := newRing(t, cut, masterKey(t, keyA), c)
	load(t, stale)
	cut.Before(storetest.Fail(errStorage))
	rotate(t, r)
	c.Advance(keyring.Overlap)
	last := seal(t, stale, keyring.RefreshHandle, "", "last")
	c.Advance(time.Second)
	if _, err := stale.Seal(t.Context(), keyring.RefreshHandle, nil, nil); err == nil {
		t.Fatal("an instance signs with a ring it has not read for a day")
	}
	c.Advance(90*day - time.Second)
	load(t, r)
	sweep(t, table, c.Now())
	opens(t, newRing(t, table, masterKey(t, keyA), c), keyring.RefreshHandle, "", last, "last")
	before := len(rows(t, table))
	c.Advance(keyring.Margin + day)
	sweep(t, table, c.Now())
	if n := len(rows(t, table)); n >= before {
		t.Errorf("%d epochs, and %d before everything expired", n, before)
	}
	load(t, r)
	if _, err := r.Open(t.Context(), keyring.RefreshHandle, nil, last); err != keyring.ErrNotOurs {
		t.Errorf("the epoch is swept and its handle is answered with %v", err)
	}
}

func TestNewestEpochNeverExpires(t *testing.T) {
	c, table, r := loadedRing(t)
	for range 3 {
		rotate(t, r)
		c.Advance(time.Hour)
		load(t, r)
	}
	all := rows(t, table)
	for i, row := range all {
		if newest := i == len(all)-1; newest != row.Expires.IsZero() {
			t.Errorf("epoch %s expires %s", row.Key, row.Expires)
		}
	}
	// The successor of an epoch is deleted by hand: it is the newest again.
	newest := all[len(all)-1]
	if err := table.Delete(t.Context(), newest.Partition, newest.Key, newest.ETag); err != nil {
		t.Fatal(err)
	}
	load(t, r)
	left := rows(t, table)
	if last := left[len(left)-1]; !last.Expires.IsZero() {
		t.Errorf("the newest epoch expires %s", last.Expires)
	}
	c.Advance(365 * day) // nobody came for a year
	sweep(t, table, c.Now())
	if kid := signingID(t, newRing(t, table, masterKey(t, keyA), c)); kid != epochsOf(t, table)[0].KeyID {
		t.Error("the ring that remained does not sign")
	}
}

func TestShorterRetentionDoesNotBringAnEndForward(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	rotate(t, r)
	c.Advance(time.Hour)
	load(t, r)
	before := rows(t, table)[0].Expires
	for _, retention := range []time.Duration{day, 200 * day, day} {
		load(t, keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyA), Now: c.Now, Retention: retention}))
	}
	if after := rows(t, table)[0].Expires; after.Sub(before) != 110*day {
		t.Errorf("expires %s, and %s before a longer retention was set", after, before)
	}
}

// Instances that read the ring all the time write to it only when something is
// due.
func TestReadingTheRingWritesNothing(t *testing.T) {
	c, table, r := loadedRing(t)
	rotate(t, r)
	c.Advance(time.Hour)
	load(t, r) // gives the first epoch its end
	before := rows(t, table)
	for range 3 {
		c.Advance(time.Hour)
		load(t, r)
	}
	for i, row := range rows(t, table) {
		if row.ETag != before[i].ETag {
			t.Errorf("epoch %s was written", row.Key)
		}
	}
}

// Whether or not the sweep has come by, an epoch that has expired verifies
// nothing.
func TestExpiredEpochVerifiesNothing(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	sealed := seal(t, r, keyring.RefreshHandle, "", "h")
	rotate(t, r)
	c.Advance(time.Hour)
	load(t, r)
	expires := rows(t, table)[0].Expires
	cold := func() *keyring.Ring { return newRing(t, table, masterKey(t, keyA), c) } // finds the two epochs
	c.Advance(expires.Sub(c.Now()))
	opens(t, cold(), keyring.RefreshHandle, "", sealed, "h")
	c.Advance(time.Second)
	expired := func(r *keyring.Ring) {
		t.Helper()
		if _, err := r.Open(t.Context(), keyring.RefreshHandle, nil, sealed); err != keyring.ErrNotOurs {
			t.Errorf("an epoch that expired: %v", err)
		}
	}
	expired(cold())
	load(t, r) // makes the epoch that is due
	expired(r)
}

// The newest epoch signs whatever its row says: a ring without one to sign with
// would be an outage.
func TestNewestEpochSignsWhateverItsRowSays(t *testing.T) {
	c, table, r := loadedRing(t)
	rotate(t, r)
	c.Advance(time.Hour)
	newest := rows(t, table)[1]
	newest.Expires = c.Now().Add(-time.Hour)
	storetest.MustReplace(t, table, newest)
	if kid := signingID(t, newRing(t, table, masterKey(t, keyA), c)); kid != epochsOf(t, table)[1].KeyID {
		t.Errorf("%s signs, want the newest epoch", kid)
	}
}

func TestEpochOfALaterVersionIsNotGuessedAt(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	load(t, newRing(t, table, masterKey(t, keyA), c))
	row := rows(t, table)[0]
	whole := row.Value
	for want, value := range map[string][]byte{"a later version": bytes.Replace(whole, []byte(`"v":1`), []byte(`"v":2`), 1), "is not an epoch": whole[1:]} {
		row.Value = value
		row.ETag = storetest.MustReplace(t, table, row)
		if err := newRing(t, table, masterKey(t, keyA), c).Load(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("loaded: %v, want %q", err, want)
		}
	}
	// Nor is a row beside a good one whose key is no number.
	row.Value = whole
	storetest.MustReplace(t, table, row)
	for _, key := range []string{"second", "2", "0000000000"} {
		row.Key = key
		etag, err := table.Insert(t.Context(), row)
		if err != nil {
			t.Fatal(err)
		}
		if err := newRing(t, table, masterKey(t, keyA), c).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "is not an epoch") {
			t.Errorf("loaded with a row %s: %v", key, err)
		}
		if err := table.Delete(t.Context(), row.Partition, key, etag); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunKeepsTheRingFresh(t *testing.T) {
	table := newTable(t)
	synctest.Test(t, func(t *testing.T) {
		away := storetest.Instrument(table)
		away.Before(storetest.Fail(errStorage))
		r := keyring.New(keyring.Options{Table: away, Wrapper: masterKey(t, keyA), Now: time.Now})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Run(ctx)
		synctest.Wait()
		if err := r.Ready(t.Context()); err == nil {
			t.Error("ready without storage")
		}
		away.Repair()
		failed := away.Count(storetest.List)
		time.Sleep(keyring.UnknownInterval) // one retry
		synctest.Wait()
		if away.Count(storetest.List) == failed {
			t.Errorf("not read again within %v of a failure", keyring.UnknownInterval)
		}
		if err := r.Ready(t.Context()); err != nil {
			t.Errorf("not ready after storage came back: %v", err)
		}
		first := signingID(t, r)
		before := away.Count(storetest.List)
		time.Sleep(time.Hour)
		if n := away.Count(storetest.List) - before; n < 60/5-1 || n > 60/4+1 {
			t.Errorf("the ring was read %d times in an hour", n)
		}
		time.Sleep(31 * day)
		if signingID(t, r) == first {
			t.Error("the ring was not rotated within 31 days")
		}
	})
}
