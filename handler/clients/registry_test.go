package clients

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestUnusedRegistrationLivesThirtyDays(t *testing.T) {
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	id := register(t, r, realRegistrations[0].body).ClientID
	clock.Advance(30*24*time.Hour - time.Second)
	lookup(t, r, id)
	clock.Advance(time.Second)
	_, err := r.Lookup(context.Background(), id)
	wantCode(t, err, oauth.InvalidClient)
	if again := register(t, r, realRegistrations[0].body); again.ClientID != id {
		t.Error("registering again gave another id")
	}
	if _, err := r.Lookup(context.Background(), id); err != nil {
		t.Errorf("after registering again: %v", err)
	}
}

func TestUsedRegistrationLivesFourHundredDaysAfterLastUse(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := clocktest.New()
		r := newRegistry(t, Options{Now: clock.Now, Table: table})
		id := register(t, r, realRegistrations[0].body).ClientID
		use := func() {
			t.Helper()
			c := lookup(t, r, id)
			r.Touch(context.Background(), c)
		}
		use()
		clock.Advance(399 * 24 * time.Hour)
		use()
		clock.Advance(399 * 24 * time.Hour)
		use()
		clock.Advance(400 * 24 * time.Hour)
		_, err := r.Lookup(context.Background(), id)
		wantCode(t, err, oauth.InvalidClient)
	})
}

func TestTouchWritesAtMostOnceADay(t *testing.T) {
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Now: clock.Now, Table: table})
	id := register(t, r, realRegistrations[0].body).ClientID
	writes, last := 0, store.ETag("")
	for range 72 {
		c := lookup(t, r, id)
		r.Touch(context.Background(), c)
		row := storetest.MustGet(t, table, partition(id), id)
		if row.ETag != last {
			writes, last = writes+1, row.ETag
		}
		clock.Advance(time.Hour)
	}
	if writes > 3 {
		t.Errorf("%d writes in 72 hours", writes)
	}
}

func TestTouchOfAStaleClientIsHarmless(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := clocktest.New()
		a, b := newRegistry(t, Options{Now: clock.Now, Table: table}), newRegistry(t, Options{Now: clock.Now, Table: table})
		id := register(t, a, realRegistrations[0].body).ClientID
		ca := lookup(t, a, id)
		cb := lookup(t, b, id)
		a.Touch(context.Background(), ca)
		b.Touch(context.Background(), cb)
		clock.Advance(48 * time.Hour)
		for _, r := range []*Registry{a, b} {
			if _, err := r.Lookup(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
	})
}

// A write that loses a race is somebody else's use; any other failure is told to
// the operator, and nobody else.
func TestAClientThatIsNotKeptAliveIsSaidInTheLog(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		said bool
	}{"storage is away": {errStorage, true}, "a race": {store.ErrConflict, false}, "swept": {store.ErrNotFound, false}} {
		clock := clocktest.New()
		table := storetest.Instrument(openTable(t))
		var log strings.Builder
		r := newRegistry(t, Options{Now: clock.Now, Table: table, Log: slog.New(slog.NewTextHandler(&log, nil))})
		c := lookup(t, r, register(t, r, realRegistrations[0].body).ClientID)
		table.Before(storetest.Fail(tt.err, storetest.Replace))
		r.Touch(t.Context(), c)
		if strings.Contains(log.String(), "was not extended") != tt.said {
			t.Errorf("%s: the log says %s", name, log.String())
		}
	}
}

func TestDeletedClientIsUnknownWithinAMinute(t *testing.T) {
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Now: clock.Now, Table: table})
	id := register(t, r, realRegistrations[0].body).ClientID
	if err := remove(table, partition(id), id); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	_, err := r.Lookup(context.Background(), id)
	wantCode(t, err, oauth.InvalidClient)
}

func TestALookUpThatReadsTheTableIsNoHit(t *testing.T) {
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	id := register(t, r, realRegistrations[0].body).ClientID
	for _, after := range []time.Duration{0, cacheFor, 0} {
		clock.Advance(after)
		lookup(t, r, id)
	}
	if hits, misses := r.CachedClients(); hits != 2 || misses != 1 {
		t.Errorf("%d hits and %d misses, want 2 and 1", hits, misses)
	}
}

// Claude registers a new client with a secret at each connect; what it leaves
// behind must not pile up.
func TestClaudeRegistrationsThatAreNotUsedAreSwept(t *testing.T) {
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	for _, tt := range realRegistrations {
		register(t, r, tt.body)
	}
	page, err := table.ListExpired(context.Background(), clock.Now().Add(unusedLife+time.Second), "")
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

// 400 registrations a second came from many addresses, and one of twenty honest
// clients could register.
func TestAFloodOfRegistrationsLeavesRoomForOthers(t *testing.T) {
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	attempt := func(address string, n int) error {
		_, err := r.Register(as(address), "application/json", strings.NewReader(fmt.Sprintf(`{"redirect_uris":["https://app.example/%d"],"token_endpoint_auth_method":"none"}`, n)))
		return err
	}
	for second := range 2 {
		for i := range 400 {
			if err := attempt(fmt.Sprintf("10.0.%d.%d", i%100, i/100+1), second*400+i); err != nil {
				wantCode(t, err, oauth.SlowDown)
			}
		}
		clock.Advance(time.Second)
		for i := range 10 {
			if err := attempt(fmt.Sprintf("198.51.%d.7", second*10+i), 10000+second*10+i); err != nil {
				t.Errorf("honest client %d of second %d: %v", i, second, err)
			}
		}
	}
	if n, most := countRows(t, table, RegistrationPrefix), instanceRegistrations.Burst+2*int(instanceRegistrations.PerSecond); n > most {
		t.Errorf("%d rows in 2 s, want at most %d", n, most)
	}
}

func TestRegistrationsOfAFloodLiveADay(t *testing.T) {
	clock := clocktest.New()
	table := openTable(t)
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	long := 0
	var last string
	for i := range lastingRowsBurst + 20 {
		reg, err := r.Register(as(fmt.Sprintf("10.0.%d.1", i%250)), "application/json", strings.NewReader(fmt.Sprintf(`{"redirect_uris":["https://app.example/%d"],"token_endpoint_auth_method":"none"}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		last = reg.ClientID
		row := storetest.MustGet(t, table, partition(last), last)
		if row.Expires.Sub(clock.Now()) > floodLife {
			long++
		}
		clock.Advance(10 * time.Millisecond)
	}
	if long < lastingRowsBurst || long > lastingRowsBurst+1 {
		t.Errorf("%d rows live longer than a day, want %d", long, lastingRowsBurst)
	}
	// Once it is used, it lives like any other.
	c := lookup(t, r, last)
	if left := c.row.Expires.Sub(clock.Now()); left > floodLife {
		t.Errorf("the last one lives %v", left)
	}
	r.Touch(t.Context(), c)
	clock.Advance(399 * 24 * time.Hour)
	if _, err := r.Lookup(t.Context(), last); err != nil {
		t.Error(err)
	}
}

// A client that registers again near the end of its term gets another.
func TestRegisteringAgainRenews(t *testing.T) {
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	id := register(t, r, realRegistrations[0].body).ClientID
	for range 5 {
		clock.Advance(29 * 24 * time.Hour)
		if again := register(t, r, realRegistrations[0].body).ClientID; again != id {
			t.Fatal("registering again gave another id")
		}
	}
	if _, err := r.Lookup(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestRegistrationsAndDocumentsAreAudited(t *testing.T) {
	s := newSite(t)
	id := serveDocument(s)
	var log strings.Builder
	r, clock := documentRegistry(t, s, Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
	audited := func(what string, want ...string) {
		t.Helper()
		if n := strings.Count(log.String(), `"category":"audit"`); n != 1 {
			t.Errorf("%s: %d events in %s", what, n, log.String())
		}
		for _, part := range want {
			if !strings.Contains(log.String(), part) {
				t.Errorf("%s: no %s in %s", what, part, log.String())
			}
		}
		log.Reset()
	}
	reg := register(t, r, realRegistrations[5].body)
	audited("registration", `"event":"client_registered"`, `"client_id":"`+reg.ClientID+`"`, `"client_name":"Claude"`, `"client_host":"claude.ai"`)
	for range 2 {
		lookup(t, r, id)
	}
	audited("document", `"event":"document_accepted"`, `"client_id":"`+id+`"`, `"client_host":"127.0.0.1:`+s.port()+`"`)
	clock.Advance(2 * defaultFresh)
	if _, err := r.Register(t.Context(), "application/json", strings.NewReader(`{"redirect_uris":["javascript:x"]}`)); err == nil || log.Len() != 0 {
		t.Errorf("a refused registration: %v, %s", err, log.String())
	}
}
