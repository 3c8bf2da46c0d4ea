package grants

import (
	"context"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"entramcp/handler/oauth"
)

func (w *world) create(t *rapid.T) {
	i := w.any(t)
	f := w.fault(t, i)
	n := len(w.grants)
	a := testApproval()
	a.ClientID = fmt.Sprintf("client-%d", n%2)
	a.Identity.ObjectID = fmt.Sprintf("user-%d", n%2)
	ends := i.now().Add(CodeLifetime).Unix()
	code, err := i.Create(context.Background(), a)
	i.wire.disturb(nil, nil)
	if err != nil {
		if !*f.fired || oauth.AsError(err).Code != oauth.TemporarilyUnavailable {
			t.Fatal(err)
		}
		return
	}
	h, err := i.openHandle(context.Background(), "code handle", code.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	g := &modelGrant{subject: h.subjectID(), id: h.grantID(), client: a.ClientID, code: code, codeEnds: ends,
		honest: rapid.IntRange(0, 2).Draw(t, "honest") == 0}
	g.state = w.peek(g)
	w.grants = append(w.grants, g)
	if g.honest {
		w.redeemWith(t, g, i, fault{new(bool)})
	}
}

func (w *world) redeem(t *rapid.T) {
	g, i := w.pick(t, wild), w.any(t)
	w.redeemWith(t, g, i, w.fault(t, i))
}

func (w *world) redeemWith(t *rapid.T, g *modelGrant, i *instance, f fault) {
	t.Helper()
	want := verdict{"", advances}
	if v, ok := w.gone(i, g); i.now().Unix() >= g.codeEnds {
		want = verdict{oauth.InvalidGrant, nothing}
	} else if ok {
		want = v
	} else if g.state.generation > 0 {
		want = verdict{oauth.InvalidGrant, revokes}
	}
	tokens, err := i.Redeem(context.Background(), g.code, Redemption{ClientID: g.client, RedirectURI: testRedirect, Verifier: testVerifier})
	w.settleCall(t, g, i, f, want, err)
	if err == nil {
		g.redeemed++
		w.issued(t, g, i, tokens)
	}
}

func (w *world) redeemWrongly(t *rapid.T) {
	g, i := w.pick(t, wild), w.any(t)
	want := verdict{oauth.InvalidGrant, nothing}
	if v, ok := w.gone(i, g); i.now().Unix() >= g.codeEnds {
	} else if ok {
		want = v
	} else if g.state.generation > 0 {
		want.effect = revokes
	}
	f := w.fault(t, i)
	_, err := i.Redeem(context.Background(), g.code, Redemption{ClientID: g.client, RedirectURI: testRedirect, Verifier: testVerifier + "x"})
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

// expectRefresh is the table in the package comment.
func (w *world) expectRefresh(i *instance, g *modelGrant, r issuedRefresh) verdict {
	if v, ok := w.gone(i, g); i.now().Unix() >= r.ends {
		return verdict{oauth.InvalidGrant, nothing}
	} else if ok {
		return v
	}
	switch {
	case r.generation == g.state.generation:
		return verdict{"", advances}
	case r.generation+1 == g.state.generation && i.now().Sub(g.state.rotated) <= RefreshGrace:
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
	_, dead := w.gone(i, g)
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
		if want.code == "" {
			want = verdict{oauth.InvalidScope, nothing}
		}
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
				inner, err = other.Refresh(ctx, inner.Refresh, g.client, nil, renewOK)
			}
			if err != nil {
				t.Fatal(err)
			}
			g.state = w.peek(g)
			w.issued(t, g, other, inner)
			if refused {
				return Renewal{}, ErrSignInOver
			}
		}
		g.state = w.peek(g)
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

// honest is a client that does nothing wrong: it shows its newest token,
// repeats the request when told 503 or when it lost the answer, to whichever
// instance, and is never logged out.
func (w *world) honest(t *rapid.T) {
	g := w.pick(t, func(g *modelGrant) bool { return g.honest && len(g.refresh) > 0 })
	r := g.refresh[len(g.refresh)-1]
	if !g.state.exists || w.clock.Now().Add(30*time.Second).After(g.state.expires) {
		t.Skip("expired of disuse")
	}
	for try := range 4 {
		i := w.any(t)
		f := fault{new(bool)}
		if try < 3 {
			f = w.fault(t, i)
		}
		tokens, err := i.Refresh(context.Background(), r.token, g.client, nil, renewOK)
		i.wire.disturb(nil, nil)
		g.state = w.peek(g)
		switch {
		case err == nil:
			w.issued(t, g, i, tokens)
			if rapid.Bool().Draw(t, "answer arrives") {
				return
			}
			g.refresh = g.refresh[:len(g.refresh)-1] // it never saw this one
		case !*f.fired || oauth.AsError(err).Code != oauth.TemporarilyUnavailable:
			t.Fatalf("an honest client was told %v; fault %t", err, *f.fired)
		}
		// At most 24 s for all tries, and 30 s of clock error, are within
		// the grace.
		w.clock.Advance(time.Duration(rapid.IntRange(0, 8).Draw(t, "pause")) * time.Second)
	}
	i := w.any(t)
	tokens, err := i.Refresh(context.Background(), r.token, g.client, nil, renewOK)
	if err != nil {
		t.Fatalf("an honest client was logged out: %v", err)
	}
	g.state = w.peek(g)
	w.issued(t, g, i, tokens)
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
	if _, dead := w.gone(i, g); dead {
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
	if v, ok := w.gone(i, g); ok {
		want = verdict{oauth.InvalidToken, v.effect}
	}
	f := w.fault(t, i)
	_, err := i.Get(context.Background(), g.subject, g.id)
	w.settleCall(t, g, i, f, want, err)
}
