package clients

import (
	"context"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestUnusedRegistrationDiesAfterADay(t *testing.T) {
	clock := newClock()
	r := newRegistry(t, Options{Now: clock.now})
	id := register(t, r, realRegistrations[0].body).ClientID
	clock.advance(24*time.Hour - time.Second)
	if _, err := r.Lookup(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Second)
	_, err := r.Lookup(context.Background(), id)
	wantCode(t, err, oauth.InvalidClient)
	if again := register(t, r, realRegistrations[0].body); again.ClientID != id {
		t.Error("registering again gave another id")
	}
	if _, err := r.Lookup(context.Background(), id); err != nil {
		t.Errorf("after registering again: %v", err)
	}
}

func TestUsedRegistrationLivesNinetyDaysAfterLastUse(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := newClock()
		r := newRegistry(t, Options{Now: clock.now, Table: table})
		id := register(t, r, realRegistrations[0].body).ClientID
		use := func() {
			t.Helper()
			c, err := r.Lookup(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			r.Touch(context.Background(), c)
		}
		use()
		clock.advance(89 * 24 * time.Hour)
		use()
		clock.advance(89 * 24 * time.Hour)
		use()
		clock.advance(90 * 24 * time.Hour)
		_, err := r.Lookup(context.Background(), id)
		wantCode(t, err, oauth.InvalidClient)
	})
}

func TestTouchWritesAtMostOnceADay(t *testing.T) {
	clock := newClock()
	table := openTable(t)
	r := newRegistry(t, Options{Now: clock.now, Table: table})
	id := register(t, r, realRegistrations[0].body).ClientID
	writes, last := 0, store.ETag("")
	for range 72 {
		c, err := r.Lookup(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		r.Touch(context.Background(), c)
		row, err := table.Get(context.Background(), partition(id), id)
		if err != nil {
			t.Fatal(err)
		}
		if row.ETag != last {
			writes, last = writes+1, row.ETag
		}
		clock.advance(time.Hour)
	}
	if writes > 3 {
		t.Errorf("%d writes in 72 hours", writes)
	}
}

func TestTouchOfAStaleClientIsHarmless(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := newClock()
		a, b := newRegistry(t, Options{Now: clock.now, Table: table}), newRegistry(t, Options{Now: clock.now, Table: table})
		id := register(t, a, realRegistrations[0].body).ClientID
		ca, err := a.Lookup(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		cb, err := b.Lookup(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		a.Touch(context.Background(), ca)
		b.Touch(context.Background(), cb)
		clock.advance(48 * time.Hour)
		for _, r := range []*Registry{a, b} {
			if _, err := r.Lookup(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDeletedClientIsUnknownWithinAMinute(t *testing.T) {
	clock := newClock()
	table := openTable(t)
	r := newRegistry(t, Options{Now: clock.now, Table: table})
	id := register(t, r, realRegistrations[0].body).ClientID
	if err := remove(table, partition(id), id); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	_, err := r.Lookup(context.Background(), id)
	wantCode(t, err, oauth.InvalidClient)
}

// Claude registers a new client with a secret at each connect; what it leaves
// behind must not pile up.
func TestClaudeRegistrationsThatAreNotUsedAreSwept(t *testing.T) {
	clock := newClock()
	table := openTable(t)
	r := newRegistry(t, Options{Table: table, Now: clock.now})
	for _, tt := range realRegistrations {
		register(t, r, tt.body)
	}
	page, err := table.ListExpired(context.Background(), clock.at.Add(unusedLife+time.Second), "")
	if err != nil || page.Next != "" {
		t.Fatal(page.Next, err)
	}
	if len(page.Rows) != len(realRegistrations) {
		t.Errorf("%d of %d rows are swept after a day", len(page.Rows), len(realRegistrations))
	}
}

// Claude uses its metadata document only where none is advertised.
func TestDeletedClientRegistersAgain(t *testing.T) {
	table := openTable(t)
	a, b := newRegistry(t, Options{Table: table}), newRegistry(t, Options{Table: table})
	id := register(t, a, realRegistrations[0].body).ClientID
	if err := remove(table, partition(id), id); err != nil {
		t.Fatal(err)
	}
	if again := register(t, a, realRegistrations[0].body).ClientID; again != id {
		t.Errorf("id %s, want %s", again, id)
	}
	if _, err := b.Lookup(context.Background(), id); err != nil {
		t.Errorf("on the other instance: %v", err)
	}
}
