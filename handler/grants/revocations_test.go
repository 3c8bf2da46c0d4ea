package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// history is a table with many revocations, which it holds in memory.
type history struct {
	store.Table
	rows []store.Row // in the order of a listing
	read atomic.Int32
}

// revokedDaily makes n revocations, evenly spread over the day before until. The
// grants of all of them are gone.
func revokedDaily(t failer, table store.Table, until time.Time, n int) *history {
	t.Helper()
	h := &history{Table: table}
	for k := range n {
		v := announcement{Version: 1, Subject: "nobody", Grant: fmt.Sprintf("grant-%06d", k), At: until.Add(-time.Duration(k) * 24 * time.Hour / time.Duration(n))}
		row, err := v.row(v.At.Add(25 * time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		h.rows = append(h.rows, row)
	}
	sort.Slice(h.rows, func(a, b int) bool {
		x, y := h.rows[a], h.rows[b]
		return x.Partition+"/"+x.Key < y.Partition+"/"+y.Key
	})
	return h
}

func (h *history) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	if !strings.HasPrefix(span.Last, RevocationPrefix) {
		return h.Table.List(ctx, span, from)
	}
	var page store.Page
	for _, row := range h.rows {
		if row.Partition < span.First || row.Partition > span.Last || row.Key < span.FirstKey || store.Cursor(row.Partition+"/"+row.Key) < from {
			continue
		}
		if len(page.Rows) == store.MaxPage {
			page.Next = store.Cursor(row.Partition + "/" + row.Key)
			break
		}
		page.Rows = append(page.Rows, row)
	}
	h.read.Add(int32(len(page.Rows)))
	return page, nil
}

// A user with a script can revoke as fast as the limits allow. Neither a start
// nor a poll, a call or a revocation may cost by how many there were.
func TestCostFollowsTheRateOfRevocationsNotTheirNumber(t *testing.T) {
	c := newClock()
	c.Advance(30 * time.Minute)
	base := newTable(t)
	h := revokedDaily(t, base, c.Now(), 20_000)
	i := newInstance(t, h, c.Now)
	i.accessLifetime = 24 * time.Hour
	ctx := context.Background()
	ops := func(what string, most int, do func()) {
		t.Helper()
		reads, writes := i.wire.Counts()
		do()
		if r, w := i.wire.Counts(); r-reads+w-writes > most {
			t.Errorf("%s: %d reads and %d writes, at most %d in all", what, r-reads, w-writes, most)
		}
	}
	// One list for each of 26 hours, one for what is older, for the earlier
	// version's partition and for the blocks.
	ops("start", 29, func() { i.poll(ctx) })
	for k := range 20_000 {
		if !i.revoked.has(fmt.Sprintf("grant-%06d", k)) {
			t.Fatalf("revocation %d is not known", k)
		}
	}
	tokens := signIn(t, i.Service)
	c.Advance(pollInterval)
	before := h.read.Load()
	ops("a poll", 2, func() { i.poll(ctx) })
	if n := h.read.Load() - before; n > 100 { // 70 are of the last five minutes
		t.Errorf("a poll reads %d rows", n)
	}
	ops("calls", 0, func() {
		for range 100 {
			mustVerify(t, i.Service, tokens.Access)
		}
	})
	ops("a revocation", 3, func() {
		if err := i.Revoke(ctx, tokens.Access.Reveal(), testClient); err != nil {
			t.Error(err)
		}
	})
	ops("revoking again", 1, func() {
		if err := i.Revoke(ctx, tokens.Access.Reveal(), testClient); err != nil {
			t.Error(err)
		}
	})
	// Half a day without a request: the hours since, and what is new in them.
	c.Advance(12 * time.Hour)
	ops("the request after a pause", 17, func() { mustBeCurrent(t, i) })
	// What is over is looked at once, a batch at a time, and forgotten.
	ops("a poll when much is over", 2+completionBatch, func() { i.poll(ctx) })
	c.Advance(24 * time.Hour)
	for range 20_000/completionBatch + 1 {
		c.Advance(pollInterval)
		i.poll(ctx)
	}
	if n := len(i.revoked.grants); n != 0 {
		t.Errorf("%d revocations are kept after they are over", n)
	}
}

func BenchmarkRevocationWithManyBefore(b *testing.B) {
	i := newInstance(b, newTable(b), time.Now)
	for k := range 20_000 {
		i.revoked.add(announcement{Grant: fmt.Sprintf("grant-%06d", k)}, time.Now().Add(time.Hour))
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		i.revoked.add(announcement{Grant: fmt.Sprintf("new-%d", n)}, time.Now().Add(time.Hour))
	}
}

// The reading that a request has waited for in vain goes on: storage that is
// slow, but not too slow, makes the next request succeed.
func TestSlowReadingOutlivesTheRequestsThatWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance(t, newTable(t), time.Now)
		tokens := signIn(t, i.Service)
		time.Sleep(MaxStale + time.Second)
		i.wire.Before(func(call storetest.Call) error { time.Sleep(5 * time.Second); return nil })
		_, err := i.Verify(t.Context(), tokens.Access.Reveal())
		wantCode(t, err, oauth.TemporarilyUnavailable)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		mustVerify(t, i.Service, tokens.Access)
	})
}

// What a reading has found counts even if the rest of it fails, and the range is
// read again.
func TestReadingThatFailsHalfWayKeepsWhatItFound(t *testing.T) {
	c := newClock()
	h := revokedDaily(t, newTable(t), c.Now(), 5_000)
	i := newInstance(t, h, c.Now)
	i.accessLifetime = 24 * time.Hour
	var n atomic.Int32
	i.wire.Before(func(call storetest.Call) error {
		if n.Add(1) > 20 && call.Op == storetest.List {
			return errDown
		}
		return nil
	})
	wantCode(t, i.ensureCurrent(context.Background()), oauth.TemporarilyUnavailable)
	found := len(i.revoked.grants)
	if found == 0 {
		t.Error("nothing was kept")
	}
	i.wire.Repair()
	mustBeCurrent(t, i)
	if n := len(i.revoked.grants); n != 5_000 || found >= n {
		t.Errorf("%d known, %d after the half", n, found)
	}
}

// Clocks are apart and writes come late: what was stamped in the last minutes is
// read again.
func TestLateWritersAreRead(t *testing.T) {
	for name, stamp := range map[string]time.Duration{
		"a clock that is ahead": 90 * time.Second, "a clock that is behind": -2 * time.Minute, "a write that took long": -lateWrite,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			reader := newInstance(t, table, c.Now)
			mustBeCurrent(t, reader)
			for n := range 20 {
				v := announcement{Version: 1, Subject: "nobody", Grant: fmt.Sprintf("grant-%d", n), At: c.Now().Add(stamp)}
				row, err := v.row(v.At.Add(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				storetest.MustInsert(t, table, row)
				c.Advance(13 * time.Minute) // over the hours, and always newly stale
				mustBeCurrent(t, reader)
				if !reader.revoked.has(v.Grant) {
					t.Fatalf("at %s a revocation stamped %s is not seen", c.Now(), v.At)
				}
			}
		})
	}
}

// A writer that was paused may have written where nobody reads any more. It
// writes again before it says that the grant is revoked.
func TestPausedWriterAnnouncesAgain(t *testing.T) {
	c := newClock()
	table := newTable(t)
	writer, reader := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	tokens := signIn(t, writer.Service)
	mustVerify(t, reader.Service, tokens.Access)
	writer.wire.Before(storetest.Once(func() error {
		c.Advance(2 * rereadWindow)
		mustBeCurrent(t, reader)
		return nil
	}, storetest.Insert))
	mustRevoke(t, writer.Service, tokens.Refresh.Reveal())
	c.Advance(MaxStale + time.Second)
	_, err := reader.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
}

// A revocation made here is known at once, together with those made before, and
// those that a reading brings.
func TestListNeverLosesARevocation(t *testing.T) {
	c := newClock()
	table := newTable(t)
	i, other := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	ctx := context.Background()
	first, second, third, fourth := signIn(t, i.Service), signIn(t, i.Service), signIn(t, i.Service), signIn(t, i.Service)
	revoke := func(i *instance, tokens Tokens) {
		t.Helper()
		mustRevoke(t, i.Service, tokens.Access.Reveal())
	}
	revoke(i, first)
	revoke(i, second)
	// A third while the list is being read, when its partition has been.
	i.wire.After(storetest.Once(func() error {
		revoke(other, fourth)
		if err := i.announce(ctx, announcement{Subject: third.Grant.Subject, Grant: third.Grant.ID}); err != nil {
			t.Error(err)
		}
		return nil
	}, storetest.List))
	c.Advance(MaxStale + time.Second)
	mustBeCurrent(t, i)
	i.wire.Repair()
	for n, tokens := range []Tokens{first, second, third} {
		if !i.revoked.has(tokens.Grant.ID) {
			t.Errorf("revocation %d is lost", n+1)
		}
	}
	c.Advance(MaxStale + time.Second)
	mustBeCurrent(t, i)
	if !i.revoked.has(fourth.Grant.ID) {
		t.Error("what another instance revoked during a reading is not in the next")
	}
}

// Whoever revoked a grant may have ended between its two writes, and nobody have
// looked for hours: an instance that starts knows it nevertheless.
func TestRevocationOfHoursAgoThatWasNotCompletedIsKnown(t *testing.T) {
	for _, age := range []time.Duration{time.Hour, 5 * time.Hour, 40 * 24 * time.Hour} {
		c := newClock()
		table := newTable(t)
		a := newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		mustAnnounce(t, a.Service, announcement{Subject: tokens.Grant.Subject, Grant: tokens.Grant.ID})
		c.Advance(age)
		b := newInstance(t, table, c.Now)
		_, err := refresh(b.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
		wantMarked(t, b, tokens)
	}
}

// A change is acted on once by an instance, however often it is read.
func TestChangeIsActedOnOnce(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	mustBeCurrent(t, b)
	mustBlock(t, a.Service, BlockClient, blockedClient, "")
	var loads atomic.Int32
	b.wire.Before(storetest.On(func() error { loads.Add(1); return nil }, storetest.List).In(BlockPartition))
	for range 5 {
		c.Advance(MaxStale + time.Second)
		mustBeCurrent(t, b)
	}
	if n := loads.Load(); n != 1 {
		t.Errorf("the blocks are read %d times", n)
	}
}

// What Run cannot do is logged, unless it is told to end.
func TestPollThatFailsIsLogged(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signIn(t, i.Service)
	mustAnnounce(t, i.Service, announcement{Subject: tokens.Grant.Subject, Grant: tokens.Grant.ID})
	c.Advance(time.Hour)
	ended, end := context.WithCancel(context.Background())
	end()
	for _, tt := range []struct {
		ctx   context.Context
		fault storetest.Hook
		want  bool
	}{
		{context.Background(), storetest.Fail(errDown), true},
		{ended, storetest.Fail(errDown), false},
		{context.Background(), storetest.Fail(errDown, storetest.Get), true}, // the grant to be completed
	} {
		i.log.Reset()
		i.wire.Before(tt.fault)
		i.poll(tt.ctx)
		i.wire.Repair()
		if got := strings.Contains(i.log.String(), errDown.Error()); got != tt.want {
			t.Errorf("logged %t, want %t: %s", got, tt.want, i.log)
		}
	}
	i.poll(context.Background())
	wantMarked(t, i, tokens)
}

// Of two entries about one grant the one that reaches further counts: the whole
// grant before some of its tokens, more tokens before fewer, longer before shorter.
func TestListKeepsWhatReachesFurther(t *testing.T) {
	at := newClock().Now()
	whole := announcement{Grant: "g", Reason: "whole"}
	before := func(age time.Duration) announcement {
		return announcement{Grant: "g", Reason: "roles", IssuedBefore: at.Add(age)}
	}
	for name, tt := range map[string]struct {
		add      []announcement
		whole    bool
		youngest time.Duration // of the tokens that are revoked
		reason   string
	}{
		"tokens":                {[]announcement{before(0)}, false, 0, "roles"},
		"tokens, and younger":   {[]announcement{before(0), before(time.Minute)}, false, time.Minute, "roles"},
		"tokens, and older":     {[]announcement{before(time.Minute), before(0)}, false, time.Minute, "roles"},
		"tokens, and the whole": {[]announcement{before(0), whole}, true, time.Hour, "whole"},
		"the whole, and tokens": {[]announcement{whole, before(0)}, true, time.Hour, "whole"},
	} {
		t.Run(name, func(t *testing.T) {
			var l revocationList
			for n, v := range tt.add {
				l.add(v, at.Add(time.Duration(10-n)*time.Hour)) // the first lasts longer
				l.setMarked("g")
				l.add(v, at.Add(time.Hour))
			}
			if l.has("g") != tt.whole {
				t.Errorf("the whole grant: %t", l.has("g"))
			}
			if !l.hasToken("g", at.Add(tt.youngest-time.Second)) || !tt.whole && l.hasToken("g", at.Add(tt.youngest)) || l.hasToken("other", at) {
				t.Error("other tokens are revoked")
			}
			l.forget(at.Add(10*time.Hour-time.Second), 1)
			if !l.hasToken("g", at.Add(tt.youngest-time.Second)) {
				t.Error("forgotten too early")
			}
			if g := l.grants["g"]; g.reason != tt.reason {
				t.Errorf("for the reason %q", g.reason)
			}
			if l.forget(at.Add(10*time.Hour), 1); l.hasToken("g", at.Add(-time.Hour)) {
				t.Error("kept for ever")
			}
		})
	}
	t.Run("what lasts longer comes later", func(t *testing.T) {
		var l revocationList
		l.add(whole, at.Add(time.Hour))
		l.add(whole, at.Add(2*time.Hour))
		l.setMarked("g")
		if l.forget(at.Add(time.Hour), 1); !l.has("g") {
			t.Error("forgotten too early")
		}
	})
	t.Run("the whole of a grant that was only marked for some tokens", func(t *testing.T) {
		var l revocationList
		l.add(before(0), at.Add(time.Hour))
		l.setMarked("g")
		l.add(whole, at.Add(time.Hour))
		if open := l.forget(at.Add(time.Hour), 1); open["g"].reason != "whole" || !l.has("g") {
			t.Errorf("it is not completed: %v", open)
		}
	})
}

// One grant that cannot be completed, or is gone, does not keep others from it.
func TestGrantsThatAreGoneDoNotStopTheCompletionOfOthers(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	for n := range 5 {
		mustAnnounce(t, i.Service, announcement{Subject: "nobody", Grant: fmt.Sprintf("gone-%d", n)})
	}
	tokens := signIn(t, i.Service)
	mustAnnounce(t, i.Service, announcement{Subject: tokens.Grant.Subject, Grant: tokens.Grant.ID, Reason: "begun"})
	c.Advance(time.Hour)
	i.poll(ctx)
	wantMarked(t, i, tokens)
	i.poll(ctx)
	if n := len(i.revoked.grants); n != 0 {
		t.Errorf("%d entries are kept", n)
	}
}

// During a rollout, instances of the version before read and write one partition
// by grant. Either must see what the other revokes.
func TestRolloutFromOnePartitionOfRevocations(t *testing.T) {
	c := newClock()
	table := newTable(t)
	if err := removeRow(table, BlockPartition, rolloutKey); err != nil {
		t.Fatal(err)
	}
	i, together := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	i.wire.Before(storetest.Once(func() error { return together.Ready(context.Background()) }, storetest.Insert).In(BlockPartition))
	mustBeCurrent(t, i) // two instances that begin the rollout at once
	i.wire.Repair()
	ctx := context.Background()
	byOld, byNew, later := signIn(t, i.Service), signIn(t, i.Service), signIn(t, i.Service)
	mustVerify(t, i.Service, byOld.Access)

	// As the version before writes it.
	value, err := json.Marshal(map[string]any{"sub": byOld.Grant.Subject, "at": c.Now(), "reason": "revoked by the client"})
	if err != nil {
		t.Fatal(err)
	}
	_ = storetest.MustInsert(t, table, store.Row{Partition: "revoked", Key: byOld.Grant.ID, Value: value, Expires: c.Now().Add(36 * time.Minute)})
	c.Advance(MaxStale + time.Second)
	_, err = i.Verify(ctx, byOld.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	_, err = refresh(i.Service, byOld.Refresh)
	wantCode(t, err, oauth.InvalidGrant)

	// It extends its rows: what was revoked again is in force for as long.
	extended := signIn(t, i.Service)
	if value, err = json.Marshal(map[string]any{"sub": extended.Grant.Subject, "at": c.Now().Add(-2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	_ = storetest.MustInsert(t, table, store.Row{Partition: "revoked", Key: extended.Grant.ID, Value: value, Expires: c.Now().Add(36 * time.Minute)})
	for range 3 {
		c.Advance(MaxStale + time.Second)
		i.poll(ctx)
		_, err = i.Verify(ctx, extended.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
	}

	// As the version before reads it: by grant, in that partition.
	seenByOld := func(tokens Tokens) bool {
		row, err := table.Get(ctx, "revoked", tokens.Grant.ID)
		if errors.Is(err, store.ErrNotFound) {
			return false
		}
		var old struct {
			Subject Subject   `json:"sub"`
			At      time.Time `json:"at"`
		}
		if err != nil || json.Unmarshal(row.Value, &old) != nil || old.Subject != tokens.Grant.Subject || !row.Expires.After(c.Now().Add(30*time.Minute)) {
			t.Fatalf("%+v, %v", row, err)
		}
		return true
	}
	mustRevoke(t, i.Service, byNew.Refresh.Reveal())
	if !seenByOld(byNew) {
		t.Error("the version before does not see a revocation")
	}
	c.Advance(rolloutWindow + time.Minute)
	j := newInstance(t, table, c.Now)
	mustBeCurrent(t, j)
	mustRevoke(t, j.Service, later.Refresh.Reveal())
	if seenByOld(later) {
		t.Error("rows for the version before are written for ever")
	}
}

// The limit that docs promise for an answer covers all that a revocation does.
func TestRevocationIsAnsweredWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance(t, newTable(t), time.Now)
		tokens := signIn(t, i.Service)
		i.wire.Before(func(call storetest.Call) error {
			select {
			case <-time.After(6 * time.Second):
				return nil
			case <-call.Context.Done():
				return call.Context.Err()
			}
		})
		begun := time.Now()
		wantCode(t, i.Revoke(t.Context(), tokens.Refresh.Reveal(), testClient), oauth.TemporarilyUnavailable)
		if took := time.Since(begun); took > revocationLimit {
			t.Errorf("answered after %s", took)
		}
		i.wire.Repair()
		time.Sleep(revocationLimit)
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		i.wire.Before(func(storetest.Call) error { time.Sleep(2 * time.Second); return nil })
		begun = time.Now()
		wantCode(t, i.Revoke(hurried, tokens.Refresh.Reveal(), testClient), oauth.TemporarilyUnavailable)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("who gives up after a second is answered after %s", took)
		}
		time.Sleep(revocationLimit)
		i.wire.Repair()
		mustRevoke(t, i.Service, tokens.Refresh.Reveal())
		wantMarked(t, i, tokens)
	})
}

// A grant whose row is gone can have access tokens that are valid.
func TestRevokingATokenWhoseGrantIsGoneStillRevokesIt(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	tokens := signIn(t, a.Service)
	mustVerify(t, b.Service, tokens.Access)
	if err := removeRow(table, tokens.Grant.Subject.partition(), tokens.Grant.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(context.Background(), tokens.Access.Reveal(), "client-2"); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, a.Service, tokens.Access)
	mustRevoke(t, a.Service, tokens.Access.Reveal())
	c.Advance(MaxStale + time.Second)
	for _, i := range []*instance{a, b} {
		_, err := i.Verify(context.Background(), tokens.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
	}
	_, writes := a.wire.Counts()
	mustRevoke(t, a.Service, tokens.Access.Reveal())
	if _, w := a.wire.Counts(); w != writes {
		t.Error("revoking again lets the list grow")
	}
}

func TestGrantOutlivesItsAccessTokensHoweverShortRefreshTokensLive(t *testing.T) {
	s := New(Options{AccessLifetime: time.Hour, RefreshLifetime: time.Minute})
	if s.refreshLifetime < s.accessLifetime {
		t.Errorf("grants live %s, access tokens %s", s.refreshLifetime, s.accessLifetime)
	}
}

func TestReadyFailsWhenTheListCannotBeRead(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	if err := i.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	i.wire.Before(storetest.Fail(errDown))
	c.Advance(MaxStale + time.Second)
	wantCode(t, i.Ready(context.Background()), oauth.TemporarilyUnavailable)
}
