package grants

import (
	"context"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

func (w *world) create(t *rapid.T) {
	i := w.any(t)
	f := w.fault(t, i)
	n := len(w.grants)
	a := testAuthorization()
	a.ClientID = fmt.Sprintf("client-%d", n%2)
	a.Identity.ObjectID = fmt.Sprintf("user-%d", n%2)
	ends := i.now().Add(CodeLifetime).Unix()
	code, err := i.Create(context.Background(), a)
	i.wire.Repair()
	if err != nil {
		if !*f.fired || oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
			t.Fatal(err)
		}
		return
	}
	h, err := i.openHandle(context.Background(), "code handle", code.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	g := &modelGrant{subject: h.subjectID(), id: h.grantID(), client: a.ClientID, code: code, codeEnds: ends, ended: map[uint64]time.Time{},
		honest: rapid.IntRange(0, 2).Draw(t, "honest") == 0}
	g.state = w.peek(g)
	w.grants = append(w.grants, g)
	if g.honest {
		w.redeemHonestly(t, g)
	}
}

// redeemHonestly is a client that repeats its redemption when it is told 503 or
// its answer was lost, to whichever instance, within RepeatWindow.
func (w *world) redeemHonestly(t *rapid.T, g *modelGrant) {
	for try := range 4 {
		i := w.any(t)
		if redeemed, ok := g.ended[0]; ok && i.now().Sub(redeemed) > RepeatWindow {
			return // by a clock that is ahead; it never saw a token
		}
		f := fault{new(bool)}
		if try < 3 {
			f = w.fault(t, i)
		}
		tokens, err := i.Redeem(context.Background(), g.code, Redemption{ClientID: g.client, RedirectURI: testRedirect, Verifier: testVerifier})
		i.wire.Repair()
		w.look(g)
		switch {
		case err == nil:
			w.issued(t, g, i, tokens)
			if try == 3 || rapid.Bool().Draw(t, "answer arrives") {
				g.shared = g.refresh[len(g.refresh)-1]
				for n := range g.processes {
					g.processes[n].token, g.processes[n].read = g.shared, w.clock.Now()
				}
				return
			}
		case !*f.fired || oauth.ErrorCode(err) != oauth.TemporarilyUnavailable:
			t.Fatalf("a redemption was answered %v; fault %t", err, *f.fired)
		}
		// At most 9 s for all tries, and 15 s of clock error, are within
		// RepeatWindow.
		w.clock.Advance(time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * time.Second)
	}
}

func (w *world) redeem(t *rapid.T) {
	g, i := w.pick(t, wild), w.any(t)
	w.redeemWith(t, g, i, w.fault(t, i))
}

func (w *world) redeemWith(t *rapid.T, g *modelGrant, i *instance, f fault) {
	t.Helper()
	want := verdict{"", advances}
	if v, ok := w.gone(i, g, true); i.now().Unix() >= g.codeEnds {
		want = verdict{oauth.InvalidGrant, nothing}
	} else if ok {
		want = v
	} else if g.state.generation > 0 && i.now().Sub(g.ended[0]) <= RepeatWindow {
		want = verdict{"", nothing}
	} else if g.state.generation > 0 {
		want = verdict{oauth.InvalidGrant, revokes}
	}
	tokens, err := i.Redeem(context.Background(), g.code, Redemption{ClientID: g.client, RedirectURI: testRedirect, Verifier: testVerifier})
	w.settleCall(t, g, i, f, want, err)
	if err == nil {
		w.issued(t, g, i, tokens)
	}
}

// redeemWrongly changes nothing, whatever the state of the grant.
func (w *world) redeemWrongly(t *rapid.T) {
	g, i := w.pick(t, wild), w.any(t)
	want := verdict{oauth.InvalidGrant, nothing}
	if v, ok := w.gone(i, g, true); i.now().Unix() < g.codeEnds && ok {
		want = v
	}
	by := Redemption{ClientID: g.client, RedirectURI: testRedirect, Verifier: testVerifier}
	switch rapid.IntRange(0, 2).Draw(t, "wrong") {
	case 0:
		by.Verifier += "x"
	case 1:
		by.ClientID = "somebody else"
	case 2:
		by.RedirectURI += "/"
	}
	f := w.fault(t, i)
	_, err := i.Redeem(context.Background(), g.code, by)
	w.settleCall(t, g, i, f, want, err)
}

func (w *world) issued(t *rapid.T, g *modelGrant, i *instance, tokens Tokens) {
	t.Helper()
	now := i.now()
	generation := generation(t, i.Service, tokens.Refresh)
	if generation != g.state.generation {
		t.Fatalf("a handle of generation %d while the grant is at %d", generation, g.state.generation)
	}
	g.refresh = append(g.refresh, issuedRefresh{tokens.Refresh, generation, now.Add(i.refreshLifetime).Unix()})
	g.access = append(g.access, issuedAccess{tokens.Access, now, now.Add(i.accessLifetime), tokens.Scopes.String()})
}

func hasRefresh(g *modelGrant) bool { return wild(g) && len(g.refresh) > 0 }

// young is the part of the grace within which a generation is not rotated.
const young = DefaultRefreshGrace / 15

// expectRefresh is the table in the package comment.
func (w *world) expectRefresh(i *instance, g *modelGrant, r issuedRefresh) verdict {
	if v, ok := w.gone(i, g, true); i.now().Unix() >= r.ends {
		return verdict{oauth.InvalidGrant, nothing}
	} else if ok {
		return v
	}
	ended, over := g.ended[r.generation]
	switch {
	case r.generation == g.state.generation && r.generation > 1 && i.now().Sub(g.state.rotated) < young:
		return verdict{"", nothing}
	case r.generation == g.state.generation:
		return verdict{"", advances}
	case over && i.now().Sub(ended) <= DefaultRefreshGrace:
		return verdict{"", nothing}
	}
	return verdict{oauth.InvalidGrant, revokes}
}

func (w *world) refresh(t *rapid.T) {
	g, i := w.pick(t, hasRefresh), w.any(t)
	// Mostly a recent handle, sometimes any.
	last := len(g.refresh) - 1
	r := g.refresh[last-min(last, rapid.IntRange(0, 4).Draw(t, "age"))]
	client, scopes := g.client, oauth.Scopes(nil)
	renew, upstream := renewOK, rapid.SampledFrom([]string{"ok", "ok", "ok", "over", "outage"}).Draw(t, "upstream")
	want := w.expectRefresh(i, g, r)
	_, dead := w.gone(i, g, true)
	dead = dead || i.now().Unix() >= r.ends
	switch rapid.IntRange(0, 7).Draw(t, "variation") {
	case 0:
		client = "somebody else"
		if !dead {
			want = verdict{oauth.InvalidGrant, nothing}
		}
	case 1:
		scopes = oauth.NewScopes("files.read", "offline_access")
	case 2:
		scopes = oauth.NewScopes("files.read", "files.write")
	}
	if want.effect == advances {
		switch upstream {
		case "over":
			want = verdict{oauth.InvalidGrant, revokes}
			renew = func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, ErrSignInOver }
		case "outage":
			want = verdict{oauth.TemporarilyUnavailable, nothing}
			renew = func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, context.DeadlineExceeded }
		}
	}
	f := w.fault(t, i)
	tokens, err := i.Refresh(context.Background(), r.token, client, scopes, renew)
	w.settleCall(t, g, i, f, want, err)
	if err == nil {
		w.issued(t, g, i, tokens)
		if len(scopes) > 0 && tokens.Scopes.String() != "files.read" {
			t.Fatalf("narrowed to %q", tokens.Scopes)
		}
	}
}

// refreshInParallel lets something else happen while upstream is being asked.
func (w *world) refreshInParallel(t *rapid.T) {
	g := w.pick(t, hasRefresh)
	i, other := w.instances[0], w.instances[1]
	r := g.refresh[len(g.refresh)-1]
	if w.expectRefresh(i, g, r) != (verdict{"", advances}) || w.expectRefresh(other, g, r) != (verdict{"", advances}) {
		t.Skip("the handle is not current")
	}
	meanwhile := rapid.SampledFrom([]string{"refresh", "refresh twice", "revoke", "update"}).Draw(t, "meanwhile")
	refused := rapid.Bool().Draw(t, "upstream refuses the late one")
	ctx := context.Background()
	tokens, err := i.Refresh(ctx, r.token, g.client, nil, func(ctx context.Context, up Upstream, id Identity) (Renewal, error) {
		switch meanwhile {
		case "revoke":
			if err := other.Revoke(ctx, r.token.Reveal(), g.client); err != nil {
				t.Fatal(err)
			}
		case "update":
			current, err := other.Get(ctx, g.subject, g.id)
			if err == nil {
				_, err = other.UpdateUpstream(ctx, current, Upstream{RefreshToken: entraRefresh("obo")})
			}
			if err != nil {
				t.Fatal(err)
			}
		default:
			inner, err := other.Refresh(ctx, r.token, g.client, nil, renewOK)
			if err == nil && meanwhile == "refresh twice" {
				w.look(g)
				w.issued(t, g, other, inner)
				w.clock.Advance(5 * time.Second)
				inner, err = other.Refresh(ctx, inner.Refresh, g.client, nil, renewOK)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.look(g)
			w.issued(t, g, other, inner)
			if refused {
				return Renewal{}, ErrSignInOver
			}
		}
		w.look(g)
		return renewOK(ctx, up, id)
	})
	want := verdict{"", nothing}
	switch meanwhile {
	case "revoke":
		want = verdict{oauth.InvalidGrant, nothing}
	case "update":
		want = verdict{"", advances}
	}
	w.settleCall(t, g, i, fault{new(bool)}, want, err)
	if err == nil {
		w.issued(t, g, i, tokens)
	}
}

// process is one process of a client that keeps its tokens in a file. It uses
// the token that it has taken from there at most 20 s ago, repeats the request
// when it is told 503, may lose the answer or get it late, and writes what it
// gets to the file. Such a client is never logged out.
func (w *world) process(t *rapid.T) {
	g := w.pick(t, func(g *modelGrant) bool { return g.honest && g.shared.token.Reveal() != "" })
	p := &g.processes[rapid.IntRange(0, len(g.processes)-1).Draw(t, "process")]
	now := w.clock.Now()
	for n := range g.processes { // answers that were on their way
		if late := g.processes[n].late; late != nil && !now.Before(g.processes[n].arrives) {
			g.processes[n].late = nil
			if late.generation > g.shared.generation {
				g.shared = *late
			}
		}
	}
	if now.Sub(p.read) > 20*time.Second || rapid.Bool().Draw(t, "reads the file") {
		p.token, p.read = g.shared, now
	}
	if !g.state.exists || now.Add(30*time.Second).After(g.state.expires) {
		t.Skip("expired of disuse")
	}
	// 30 s, and 30 s of clock errors, are within the grace.
	if ended, over := g.ended[p.token.generation]; over && now.Sub(ended) > 30*time.Second {
		if p.token, p.read = g.shared, now; g.shared.generation < g.state.generation && now.Sub(g.ended[g.shared.generation]) > 30*time.Second {
			g.honest = false // it lost an answer and did not repeat the request in time
			return
		}
	}
	i := w.any(t)
	f := w.fault(t, i)
	tokens, err := i.Refresh(context.Background(), p.token.token, g.client, nil, renewOK)
	i.wire.Repair()
	w.look(g)
	if err != nil {
		if !*f.fired || oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
			t.Fatalf("an honest client was told %v; fault %t; token %d of %d, ended %v", err, *f.fired, p.token.generation, g.state.generation, g.ended)
		}
		return // and will be tried again
	}
	w.issued(t, g, i, tokens)
	got := g.refresh[len(g.refresh)-1]
	switch rapid.IntRange(0, 3).Draw(t, "answer") {
	case 0: // lost
	case 1:
		p.late, p.arrives = &got, now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "late by"))*time.Second)
	default:
		p.token, p.read = got, now
		if got.generation > g.shared.generation {
			g.shared = got
		}
	}
}

// revokeWhilePaused is a writer that stops between stamping a revocation and
// writing it, while others go on.
func (w *world) revokeWhilePaused(t *rapid.T) {
	g, i := w.pick(t, hasRefresh), w.any(t)
	r := g.refresh[len(g.refresh)-1]
	if i.now().Unix() >= r.ends || !g.state.exists || g.state.marked {
		t.Skip("useless")
	}
	pause := rapid.SampledFrom([]time.Duration{10 * time.Second, 40 * time.Second, 6 * time.Minute}).Draw(t, "pause")
	other := w.any(t)
	i.wire.Before(storetest.Once(func() error {
		w.clock.Advance(pause)
		if other != i {
			other.poll(context.Background())
		}
		return nil
	}, storetest.Insert))
	w.lookAtAll()
	if err := i.Revoke(context.Background(), r.token.Reveal(), g.client); err != nil {
		t.Fatal(err)
	}
	i.wire.Repair()
	w.lookAtAll()
	if !g.state.marked {
		t.Fatal("revoked and not marked")
	}
}

func (w *world) revoke(t *rapid.T) {
	g, i := w.pick(t, hasRefresh), w.any(t)
	n := rapid.IntRange(0, len(g.refresh)-1).Draw(t, "token")
	token, useless := g.refresh[n].token.Reveal(), i.now().Unix() >= g.refresh[n].ends
	if rapid.Bool().Draw(t, "access token") {
		a := g.access[rapid.IntRange(0, len(g.access)-1).Draw(t, "access")]
		token, useless = a.token.Reveal(), !i.now().Before(a.until)
	}
	want := verdict{"", revokes}
	if useless || !g.state.exists || g.state.marked {
		want.effect = nothing
	}
	f := w.fault(t, i)
	err := i.Revoke(context.Background(), token, g.client)
	w.settleCall(t, g, i, f, want, err)
}

// dieWhileRevoking is an instance that ends between the two writes of a
// revocation, and starts again without knowing of it. Others may be idle.
func (w *world) dieWhileRevoking(t *rapid.T) {
	g, n := w.pick(t, hasRefresh), rapid.IntRange(0, len(w.instances)-1).Draw(t, "instance")
	i, r := w.instances[n], g.refresh[len(g.refresh)-1]
	if i.now().Unix() >= r.ends || !g.state.exists || g.state.marked {
		t.Skip("useless")
	}
	i.wire.Before(storetest.Fail(errDown, storetest.Replace))
	wantCode(t, i.Revoke(context.Background(), r.token.Reveal(), g.client), oauth.TemporarilyUnavailable)
	w.look(g)
	w.start(n)
	if rapid.Bool().Draw(t, "nobody asks for anything until it is swept") {
		w.clock.Advance(45 * time.Minute)
		w.sweep(t)
	}
}

func (w *world) revokeWrongly(t *rapid.T) {
	g, i := w.pick(t, hasRefresh), w.any(t)
	r := g.refresh[len(g.refresh)-1]
	if i.now().Unix() >= r.ends || !g.state.exists {
		t.Skip("useless")
	}
	w.settleCall(t, g, i, fault{new(bool)}, verdict{oauth.InvalidGrant, nothing},
		i.Revoke(context.Background(), r.token.Reveal(), "somebody else"))
}

func (w *world) updateUpstream(t *rapid.T) {
	g, i := w.pick(t, hasRefresh), w.any(t)
	if _, dead := w.gone(i, g, false); dead {
		t.Skip("ended")
	}
	current, err := i.Get(context.Background(), g.subject, g.id)
	if err != nil {
		t.Fatal(err)
	}
	f := w.fault(t, i)
	_, err = i.UpdateUpstream(context.Background(), current, Upstream{RefreshToken: entraRefresh("obo")})
	w.settleCall(t, g, i, f, verdict{"", nothing}, err)
}

// read is what a tool does: it sees a grant that lives, and no other.
func (w *world) read(t *rapid.T) {
	g, i := w.pick(t, func(g *modelGrant) bool { return g.redeemed > 0 }), w.any(t)
	want := verdict{"", nothing}
	if v, ok := w.gone(i, g, false); ok {
		want = verdict{oauth.InvalidToken, v.effect}
	}
	f := w.fault(t, i)
	_, err := i.Get(context.Background(), g.subject, g.id)
	w.settleCall(t, g, i, f, want, err)
}
