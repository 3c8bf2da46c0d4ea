package grants

import (
	"context"
	"errors"
	"flag"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// The model is what the design says, told once more and without concurrency:
// what each call must answer and what it may change. Random interleavings over
// three instances with differing clocks, on a table whose connection fails
// before or after any operation, are held against it:
//
//   - a code is redeemed once, and repeated by its own client for a while;
//   - of a grant's generations one is live, and the others for the grace after
//     they ended, however many there were;
//   - nothing of a grant is valid MaxStale after its revocation, whoever made it
//     ended half-way, was paused, or was idle meanwhile;
//   - a fault gives a 503 and never another verdict, so that a client of several
//     processes that repeat, race and come late is never logged out;
//   - a token that was used longer ago than the grace ends the grant;
//   - every access token verifies until it expires, unless revoked.
func TestModel(t *testing.T) {
	rapid.Check(t, func(check *rapid.T) { runModel(check, storetest.Embedded(t)) })
}

func TestModelOnAzurite(t *testing.T) {
	if testing.Short() {
		t.Skip("three rounds of the model are none in a short run, which divides by five")
	}
	checks := flag.Lookup("rapid.checks").Value
	usual := checks.String()
	if err := checks.Set("3"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checks.Set(usual) }()
	rapid.Check(t, func(rt *rapid.T) { runModel(rt, newAzuriteTable(t)) })
}

// skews are the instances' clock errors. Two of them differ by 30 s at most.
var skews = []time.Duration{0, 15 * time.Second, -15 * time.Second}

func runModel(t *rapid.T, table store.Table) {
	w := &world{t: t, table: table, clock: newClock()}
	for n := range skews {
		w.instances = append(w.instances, nil)
		w.start(n)
	}
	t.Repeat(map[string]func(*rapid.T){
		"create": w.create, "redeem": w.redeem, "redeem wrongly": w.redeemWrongly,
		"refresh": w.refresh, "refresh again": w.refresh, "refresh in parallel": w.refreshInParallel,
		"client process": w.process, "client processes": w.process, "revoke": w.revoke, "revoke wrongly": w.revokeWrongly,
		"revoke while paused": w.revokeWhilePaused, "die while revoking": w.dieWhileRevoking,
		"update upstream": w.updateUpstream, "read": w.read, "verify": w.verify, "verify all": w.verifyAll,
		"wait": w.wait, "poll": w.poll, "rotate keys": w.rotateKeys, "restart": w.restart, "sweep": w.sweep,
		"": w.invariants,
	})
	w.clock.Advance(MaxStale + time.Second)
	w.verifyAll(t)
}

type world struct {
	t         *rapid.T
	table     store.Table
	clock     *clock
	instances []*instance
	grants    []*modelGrant
}

// modelGrant is what the test knows of a grant: all that was issued for it, and
// its state as last seen in the table.
type modelGrant struct {
	subject  Subject
	id       string
	client   string
	honest   bool
	code     Code
	codeEnds int64
	redeemed int
	refresh  []issuedRefresh
	access   []issuedAccess
	state    state
	// ended is when each generation was rotated away, by the rows.
	ended map[uint64]time.Time
	// published is the true time at which the revocation was first seen.
	published time.Time
	// processes of an honest client, and the token that they share.
	processes [3]clientProcess
	shared    issuedRefresh
}

// clientProcess is one process of a client that keeps its tokens in a file.
type clientProcess struct {
	token issuedRefresh
	read  time.Time // when it took the token from the file
	// late is an answer that the process has not got yet.
	late    *issuedRefresh
	arrives time.Time
}

type issuedRefresh struct {
	token      RefreshToken
	generation uint64
	ends       int64
}

type issuedAccess struct {
	token         AccessToken
	issued, until time.Time
	scopes        string
}

// state is the part of a grant's rows that decides.
type state struct {
	exists, marked, published bool
	generation                uint64
	rotated, expires          time.Time
	hasBindings               bool
}

// verdict is what the model expects: an error code ("" is success) and the
// effect on the rows.
type verdict struct {
	code   oauth.Code
	effect effect
}

type effect int

const (
	nothing effect = iota
	advances
	revokes
)

func (w *world) start(n int) {
	skew := skews[n]
	w.instances[n] = newInstance(w.t, w.table, func() time.Time { return w.clock.Now().Add(skew) })
}

func (w *world) any(t *rapid.T) *instance {
	return w.instances[rapid.IntRange(0, len(w.instances)-1).Draw(t, "instance")]
}

// pick draws a grant that is (or is not) driven by an honest client.
func (w *world) pick(t *rapid.T, ok func(*modelGrant) bool) *modelGrant {
	var fit []*modelGrant
	for _, g := range w.grants {
		if ok(g) {
			fit = append(fit, g)
		}
	}
	if len(fit) == 0 {
		t.Skip("no such grant yet")
	}
	return fit[rapid.IntRange(0, len(fit)-1).Draw(t, "grant")]
}

func wild(g *modelGrant) bool { return !g.honest }

// peek reads the rows past every fault.
func (w *world) peek(g *modelGrant) state {
	var s state
	row, err := w.table.Get(context.Background(), g.subject.partition(), g.id)
	if err == nil {
		r, err := decodeRecord(row, g.subject)
		if err != nil {
			w.t.Fatal(err)
		}
		s = state{exists: true, marked: !r.Revoked.IsZero(), generation: r.Generation, rotated: r.RotatedAt, expires: r.expires, hasBindings: r.Code != nil}
	} else if !errors.Is(err, store.ErrNotFound) {
		w.t.Fatal(err)
	}
	s.published = w.announced()[g.id]
	return s
}

// announced are the grants that the hourly partitions name.
func (w *world) announced() map[string]bool {
	out := map[string]bool{}
	for row, err := range store.Rows(context.Background(), w.table, store.Prefix(RevocationPrefix)) {
		if err != nil {
			w.t.Fatal(err)
		}
		v, err := decodeAnnouncement(row)
		if err != nil {
			w.t.Fatal(err)
		}
		out[v.Grant] = true
	}
	return out
}

// look takes over the state of g's rows.
func (w *world) look(g *modelGrant) {
	before := g.state
	g.state = w.peek(g)
	if g.state.published && g.published.IsZero() {
		g.published = w.clock.Now()
	}
	if g.state.exists && g.state.generation == before.generation+1 {
		g.ended[before.generation] = g.state.rotated
	}
}

// fault draws one failing operation, or none, for the call that follows.
type fault struct{ fired *bool }

func (w *world) fault(t *rapid.T, i *instance) fault {
	fired := false
	f := fault{&fired}
	if rapid.IntRange(0, 2).Draw(t, "faulty") > 0 {
		return f
	}
	countdown := rapid.IntRange(1, 4).Draw(t, "operation")
	late := rapid.Bool().Draw(t, "late")
	dead := rapid.Bool().Draw(t, "and all that follow")
	var mu sync.Mutex // partitions are read in parallel
	step := func(err error) func(storetest.Call) error {
		return func(storetest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			countdown--
			if countdown == 0 || (countdown < 0 && dead) {
				fired = true
				return err
			}
			return nil
		}
	}
	if late {
		i.wire.After(step(errLate))
	} else {
		i.wire.Before(step(errDown))
	}
	return f
}

// settleCall holds the answer and the rows against the verdict.
func (w *world) settleCall(t *rapid.T, g *modelGrant, i *instance, f fault, want verdict, err error) {
	t.Helper()
	i.wire.Repair()
	before := g.state
	w.look(g)
	after := g.state
	got := oauth.Code("")
	if err != nil {
		got = oauth.ErrorCode(err)
	}
	unknown := *f.fired && got == oauth.TemporarilyUnavailable
	if got != want.code && !unknown {
		t.Fatalf("answered %q (%v), want %q; fault %t; before %+v, after %+v", got, err, want.code, *f.fired, before, after)
	}
	same := after == before
	advanced := after.exists && !after.marked && after.generation == before.generation+1
	half := after.exists && !after.marked && after.generation == before.generation
	ended := after.exists && after.marked && after.published
	switch {
	case want.effect == nothing && !same,
		want.effect == advances && !advanced && !(unknown && same),
		want.effect == revokes && !ended && !(unknown && (same || half)):
		t.Fatalf("answered %q, want effect %d: before %+v, after %+v", got, want.effect, before, after)
	}
}

// gone is the verdict on a grant that an instance must or may take for ended;
// ok is false if it is alive. reads says that the call makes sure of the list.
func (w *world) gone(i *instance, g *modelGrant, reads bool) (v verdict, ok bool) {
	stale := reads && i.revoked.staleAt(i.now())
	overdue := reads && !g.published.IsZero() && w.clock.Now().Sub(g.published) > MaxStale
	switch s := g.state; {
	case !s.exists, s.marked:
		return verdict{oauth.InvalidGrant, nothing}, true
	case i.revoked.has(g.id), s.published && stale, overdue:
		return verdict{oauth.InvalidGrant, revokes}, true
	case !i.now().Before(s.expires):
		return verdict{oauth.InvalidGrant, nothing}, true
	}
	return verdict{}, false
}

func (w *world) verify(t *rapid.T) {
	g, i := w.pick(t, func(g *modelGrant) bool { return len(g.access) > 0 }), w.any(t)
	a := g.access[rapid.IntRange(0, len(g.access)-1).Draw(t, "access")]
	w.check(t, g, a, i, w.fault(t, i))
}

func (w *world) verifyAll(t *rapid.T) {
	for _, g := range w.grants {
		for _, a := range g.access {
			for _, i := range w.instances {
				w.check(t, g, a, i, fault{new(bool)})
			}
		}
	}
}

func (w *world) check(t *rapid.T, g *modelGrant, a issuedAccess, i *instance, f fault) {
	t.Helper()
	access, err := i.Verify(context.Background(), a.token.Reveal())
	i.wire.Repair()
	now, ended := i.now(), !g.published.IsZero()
	switch {
	case err == nil && access.Scopes.String() != a.scopes:
		t.Fatalf("scopes %q, want %q", access.Scopes, a.scopes)
	case err == nil && !now.Before(a.until):
		t.Fatalf("valid %s after its expiry", now.Sub(a.until))
	case err == nil && ended && w.clock.Now().Sub(g.published) > MaxStale:
		t.Fatalf("valid %s after its revocation", w.clock.Now().Sub(g.published))
	case err == nil:
	case *f.fired && oauth.ErrorCode(err) == oauth.TemporarilyUnavailable:
	case oauth.ErrorCode(err) == oauth.InvalidToken && (ended || !now.Before(a.until)):
	default:
		t.Fatalf("refused: %v; revoked %t, %s before its expiry, fault %t", err, ended, a.until.Sub(now), *f.fired)
	}
}

func (w *world) wait(t *rapid.T) {
	w.clock.Advance(rapid.SampledFrom([]time.Duration{
		time.Second, 5 * time.Second, 20 * time.Second, 45 * time.Second, DefaultRefreshGrace + time.Second,
		5 * time.Minute, 11 * time.Minute, 31 * time.Minute, 24 * time.Hour, 50 * 24 * time.Hour, 91 * 24 * time.Hour,
	}).Draw(t, "duration"))
}

func (w *world) poll(t *rapid.T) {
	i := w.any(t)
	_ = w.fault(t, i)
	i.poll(context.Background())
	i.wire.Repair()
	w.lookAtAll() // polling completes what somebody left half done
}

func (w *world) lookAtAll() {
	for _, g := range w.grants {
		w.look(g)
	}
}

func (w *world) rotateKeys(t *rapid.T) {
	if err := w.any(t).ring.Rotate(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(30 * time.Second)
}

func (w *world) restart(t *rapid.T) {
	w.start(rapid.IntRange(0, len(w.instances)-1).Draw(t, "instance"))
}

// sweep removes what the rows themselves say is over. Whoever sweeps completes
// what the rows announce.
func (w *world) sweep(t *rapid.T) {
	i := w.any(t)
	_ = w.fault(t, i)
	sweepExpired(t, i)
	i.wire.Repair()
	w.lookAtAll()
}

// invariants hold after every step, whatever it was.
func (w *world) invariants(t *rapid.T) {
	for _, g := range w.grants {
		now := w.peek(g)
		switch {
		case now != g.state:
			t.Fatalf("grant %s changed behind the model: %+v, was %+v", g.id, now, g.state)
		case g.honest && (now.marked || now.published):
			t.Fatal("the grant of an honest client was revoked")
		case !g.published.IsZero() && now.exists && !now.marked && !now.published:
			t.Fatal("a revocation was forgotten before its grant was marked")
		case now.marked && g.published.IsZero():
			t.Fatal("a grant is marked that was never published as revoked")
		}
	}
}
