package keyring_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store/storetest"
)

// retire retires epochs, and has the instances read the ring, as they do when
// it is announced.
func retire(t *testing.T, r *keyring.Ring, others []*keyring.Ring, sequences ...uint32) {
	t.Helper()
	if err := r.Retire(t.Context(), sequences...); err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		load(t, o)
	}
}

func wantRetired(t *testing.T, r *keyring.Ring, sealed string) {
	t.Helper()
	_, err := r.Open(t.Context(), keyring.RefreshHandle, nil, sealed)
	if !errors.Is(err, keyring.ErrRetired) || !errors.Is(err, keyring.ErrNotOurs) {
		t.Errorf("open: %v, want ErrRetired", err)
	}
	_, err = r.Verifying(t.Context(), keyring.AccessToken, sealed[:12], time.Now().Add(time.Hour))
	if !errors.Is(err, keyring.ErrRetired) || !errors.Is(err, keyring.ErrNotOurs) {
		t.Errorf("verify: %v, want ErrRetired", err)
	}
}

// The epoch that signs has leaked: nothing it made is worth anything, on every
// instance, and another signs at once on all of them.
func TestRetiredEpochIsWorthNothingAndHasASuccessorAtOnce(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	behind := clocktest.At(c.Now().Add(-time.Minute))
	a, b := newRing(t, table, masterKey(t, keyA), c), newRing(t, table, masterKey(t, keyA), behind)
	load(t, a)
	load(t, b)
	leaked := seal(t, a, keyring.RefreshHandle, "", "leaked")
	c.Advance(20 * day)
	behind.Advance(20 * day)
	load(t, a)
	load(t, b)
	retire(t, a, []*keyring.Ring{b}, 1)

	cold := newRing(t, table, masterKey(t, keyA), c)
	for _, r := range []*keyring.Ring{a, b, cold} {
		wantRetired(t, r, leaked)
		if err := r.Ready(t.Context()); err != nil {
			t.Errorf("not ready: %v", err)
		}
		sealed := seal(t, r, keyring.RefreshHandle, "", "x")
		for _, o := range []*keyring.Ring{a, b, cold} {
			opens(t, o, keyring.RefreshHandle, "", sealed, "x")
		}
	}
	// What is left of it can be given back to nobody.
	var e epochRow
	for _, e = range epochsOf(t, table) {
		break
	}
	if string(e.Wrapped) != "retired" {
		t.Error("the retired epoch's key is still in the table")
	}
}

// An instance that has not heard of it signs with the leaked epoch for a
// moment. What the successor signs elsewhere is good there nevertheless.
func TestInstanceThatHasNotHeardOfARetirementOpensWhatTheSuccessorSeals(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	a, late := newRing(t, table, masterKey(t, keyA), c), newRing(t, table, masterKey(t, keyA), c)
	load(t, a)
	load(t, late)
	c.Advance(day)
	load(t, late) // it has just read the ring
	retire(t, a, nil, 1)
	opens(t, late, keyring.RefreshHandle, "", seal(t, a, keyring.RefreshHandle, "", "new"), "new")
}

// An older epoch than the one that signs has leaked, or several.
func TestRetiringEpochsThatDoNotSign(t *testing.T) {
	c, table, r := loadedRing(t)
	first := seal(t, r, keyring.RefreshHandle, "", "first")
	for range 2 {
		rotate(t, r)
		c.Advance(time.Hour)
		load(t, r)
	}
	third := seal(t, r, keyring.RefreshHandle, "", "third")
	retire(t, r, nil, 1, 2)
	wantRetired(t, r, first)
	opens(t, r, keyring.RefreshHandle, "", third, "third")
	if n := len(rows(t, table)); n != 3 {
		t.Errorf("%d epochs: retiring old ones needs no new one", n)
	}
	retire(t, r, nil, 3) // and now everyone is signed out
	wantRetired(t, r, third)
	opens(t, r, keyring.RefreshHandle, "", seal(t, r, keyring.RefreshHandle, "", "fourth"), "fourth")
}

// The one that signs has leaked while the next is published and does not sign.
func TestPublishedEpochSignsEarlyForARetiredOne(t *testing.T) {
	c, table, r := loadedRing(t)
	c.Advance(3 * day) // the first is older than Overlap
	rotate(t, r)
	retire(t, r, nil, 1)
	if kid := signingID(t, r); kid != epochsOf(t, table)[1].KeyID || len(rows(t, table)) != 2 {
		t.Errorf("%s signs, of %d epochs", kid, len(rows(t, table)))
	}
}

func TestRetiringWhatIsNotThereChangesNothing(t *testing.T) {
	c, table, r := loadedRing(t)
	for _, sequences := range [][]uint32{{2}, {0}, {1, 7}} {
		if err := r.Retire(t.Context(), sequences...); !errors.Is(err, keyring.ErrNoEpoch) {
			t.Errorf("%v: %v", sequences, err)
		}
	}
	if list := epochsOf(t, table); len(list) != 1 || string(list[0].Wrapped) == "retired" {
		t.Errorf("epochs: %+v", list)
	}
	retire(t, r, nil, 1)
	if err := r.Retire(t.Context(), 1); !errors.Is(err, keyring.ErrNoEpoch) {
		t.Errorf("again: %v", err)
	}
	wrong := newRing(t, table, masterKey(t, keyB), c)
	if err := wrong.Retire(t.Context(), 2); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("with the wrong wrapping key: %v", err)
	}
}

// An epoch that is swept while it is being retired is gone as well.
func TestRetiringWhatIsSweptMeanwhile(t *testing.T) {
	c, table, r := loadedRing(t)
	rotate(t, r)
	c.Advance(time.Hour)
	wire := storetest.Instrument(table)
	wire.Before(storetest.Once(func() error {
		first := rows(t, table)[0]
		return table.Delete(t.Context(), first.Partition, first.Key, first.ETag)
	}, storetest.Get))
	if err := newRing(t, wire, masterKey(t, keyA), c).Retire(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if n := len(rows(t, table)); n != 1 {
		t.Errorf("%d epochs", n)
	}
}

// Operators, instances that rotate and instances that update rows meet.
func TestRacingRetirementsAndRotations(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	var instances []*keyring.Ring
	for range 4 {
		r := newRing(t, table, masterKey(t, keyA), c)
		load(t, r)
		instances = append(instances, r)
	}
	leaked := seal(t, instances[0], keyring.RefreshHandle, "", "leaked")
	c.Advance(40 * day)
	var group sync.WaitGroup
	for _, r := range instances {
		group.Go(func() { _ = r.Load(t.Context()) })
		group.Go(func() {
			if err := r.Retire(t.Context(), 1); err != nil && !errors.Is(err, keyring.ErrNoEpoch) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, r := range instances {
		load(t, r)
		wantRetired(t, r, leaked)
		opens(t, instances[0], keyring.RefreshHandle, "", seal(t, r, keyring.RefreshHandle, "", "x"), "x")
	}
}

func TestRetirementOfUnknownOutcomeCanBeRepeated(t *testing.T) {
	c := clocktest.New()
	table := storetest.Instrument(newTable(t))
	r := newRing(t, table, masterKey(t, keyA), c)
	load(t, r)
	rotate(t, r)
	c.Advance(time.Hour)
	table.After(storetest.Fail(errStorage, storetest.Replace))
	if err := r.Retire(t.Context(), 1, 2); !errors.Is(err, errStorage) {
		t.Fatalf("got %v, want the unknown outcome", err)
	}
	table.Repair()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var left []uint32
	for _, e := range list[:2] {
		if e.Retired.IsZero() {
			left = append(left, e.Sequence)
		}
	}
	if err := r.Retire(t.Context(), left...); err != nil {
		t.Fatal(err)
	}
	if kid := signingID(t, r); kid != list[2].KeyID {
		t.Errorf("%s signs, want the successor", kid)
	}
}

func TestRetiredEpochIsRememberedAsLongAsWhatItSealed(t *testing.T) {
	c, table, r := loadedRing(t)
	c.Advance(29 * day)
	sealed := seal(t, r, keyring.RefreshHandle, "", "just now")
	retire(t, r, nil, 1)
	load(t, r)
	c.Advance(90 * day)
	sweep(t, table, c.Now())
	wantRetired(t, newRing(t, table, masterKey(t, keyA), c), sealed)
	c.Advance(3 * day)
	sweep(t, table, c.Now())
	if epochs := epochsOf(t, table); string(epochs[0].Wrapped) == "retired" {
		t.Error("the retired epoch is never swept")
	}
}

// Every epoch that is added or retired is one audit event, of the instance whose
// write it was.
func TestChangesOfTheRingAreAudited(t *testing.T) {
	c, table := clocktest.New(), newTable(t)
	var log bytes.Buffer
	r := keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyA), Now: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	want := func(what string, events ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(log.String()) {
			if _, rest, ok := strings.Cut(line, " event=key_ring_changed "); ok {
				got = append(got, strings.TrimSpace(rest))
			}
		}
		log.Reset()
		if !slices.Equal(got, events) {
			t.Errorf("%s: %q, want %q", what, got, events)
		}
	}
	load(t, r)
	if kid := epochsOf(t, table)[0].KeyID; !strings.Contains(log.String(), "kid="+kid) {
		t.Errorf("the key id %s of the epoch is not logged: %s", kid, log.String())
	}
	want("the first start", `target="epoch 1" reason=added`)
	load(t, r)
	want("another reading")
	retire(t, r, nil, 1)
	if kid := epochsOf(t, table)[0].KeyID; !strings.Contains(log.String(), "kid="+kid) || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("the key id %s of the retired epoch is not logged: %s", kid, log.String())
	}
	want("retirement", `target="epoch 2" reason=added`, `target="epoch 1" reason=retired`)
	instrumented := storetest.Instrument(table)
	second := keyring.New(keyring.Options{Table: instrumented, Wrapper: masterKey(t, keyA), Now: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	load(t, second)
	instrumented.Before(storetest.Once(func() error { return r.Rotate(t.Context()) }, storetest.Insert))
	rotate(t, second)
	want("two that rotate", `target="epoch 3" reason=added`)
	c.Advance(time.Hour)
	instrumented.Before(storetest.Once(func() error { return r.Retire(t.Context(), 2) }, storetest.Get))
	if err := second.Retire(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	want("two that retire", `target="epoch 2" reason=retired`)
}

func TestListShowsTheRingAsItIs(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	if list, err := newRing(t, table, masterKey(t, keyA), c).List(t.Context()); len(list) != 0 || err != nil || len(rows(t, table)) != 0 {
		t.Errorf("an empty table: %v, %v", list, err)
	}
	r := newRing(t, table, masterKey(t, keyA), c)
	if newest := r.Newest(); !newest.IsZero() {
		t.Errorf("before the first reading, the newest is of %s", newest)
	}
	load(t, r)
	for range 2 {
		rotate(t, r)
		c.Advance(time.Hour)
		load(t, r)
	}
	rotate(t, r)
	if newest := r.Newest(); !newest.Equal(c.Now()) {
		t.Errorf("the newest is of %s", newest)
	}
	retire(t, r, nil, 1)
	list, err := newRing(t, table, masterKey(t, keyA), c).List(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("%d epochs, %v", len(list), err)
	}
	for i, e := range list {
		if e.Sequence != uint32(i+1) || e.Signs != (i == 2) || e.Retired.IsZero() == (i == 0) || e.Expires.IsZero() != (i >= 2) ||
			e.Locked != nil || e.Wrapping != masterKey(t, keyA).ID() || e.Created.IsZero() || e.Activates.After(c.Now()) != (i == 3) {
			t.Errorf("epoch %+v", e)
		}
	}
	list, err = newRing(t, table, masterKey(t, keyB), c).List(t.Context())
	if err != nil || len(list) != 4 {
		t.Fatalf("with the wrong key: %d epochs, %v", len(list), err)
	}
	for i, e := range list {
		if errors.Is(e.Locked, keyring.ErrWrongKey) != (i > 0) || e.Signs {
			t.Errorf("with the wrong key: %+v", e)
		}
	}
}
