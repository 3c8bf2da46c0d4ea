package grants

import (
	"context"
	"strings"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

func TestRevocationEndsGrantEverywhere(t *testing.T) {
	for name, pick := range map[string]func(Tokens) string{
		"by refresh token": func(t Tokens) string { return t.Refresh.Reveal() },
		"by access token":  func(t Tokens) string { return t.Access.Reveal() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			tokens, other := signIn(t, a.Service), signIn(t, a.Service)
			mustVerify(t, a.Service, tokens.Access)
			mustVerify(t, b.Service, tokens.Access)
			mustRevoke(t, b.Service, pick(tokens))
			_, err := b.Verify(context.Background(), tokens.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			_, err = refresh(a.Service, tokens.Refresh)
			wantCode(t, err, oauth.InvalidGrant)
			c.Advance(MaxStale + time.Second)
			_, err = a.Verify(context.Background(), tokens.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			if err := a.Revoke(context.Background(), pick(tokens), testClient); err != nil {
				t.Errorf("revoking again: %v", err)
			}
			mustVerify(t, a.Service, other.Access)
			if _, err := a.Get(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); oauth.ErrorCode(err) != oauth.InvalidToken {
				t.Errorf("reading a revoked grant: %v", err)
			}
			if list, err := a.List(context.Background(), tokens.Grant.Subject); err != nil || len(list) != 1 || list[0].ID != other.Grant.ID {
				t.Errorf("list %v, %v", list, err)
			}
		})
	}
}

func TestUserDisconnectsAnApp(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	for range 2 {
		if err := i.Disconnect(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err := refresh(i.Service, tokens.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	_, err = i.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	if err := i.Disconnect(context.Background(), SubjectOf("another", "user"), tokens.Grant.ID); err != nil {
		t.Errorf("a grant that never was: %v", err)
	}
}

func TestRevocationKeepsNoUpstreamToken(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	mustRevoke(t, i.Service, tokens.Refresh.Reveal())
	r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if err != nil || r.Sealed != "" {
		t.Errorf("sealed part is still there, or %v", err)
	}
}

// The row of a revoked grant stays as long as its access tokens, and no longer.
func TestRevokedGrantIsKeptAsLongAsItsAccessTokens(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signIn(t, i.Service)
	if err := i.Disconnect(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); err != nil {
		t.Fatal(err)
	}
	r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if kept := r.expires.Sub(c.Now()); err != nil || kept < tokens.ExpiresIn+leeway || kept > tokens.ExpiresIn+leeway+2*margin {
		t.Errorf("kept for %s, %v", kept, err)
	}
}

func TestRevocationOfUselessTokensSucceeds(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	tokens := signIn(t, i.Service)
	for name, token := range map[string]string{
		"nothing": "", "garbage": "garbage", "long": strings.Repeat("x", 100_000), "a code": code.Reveal(),
		"a foreign JWT": "eyJhbGciOiJub25lIn0.e30.", "truncated": tokens.Refresh.Reveal()[:40],
	} {
		if err := i.Revoke(context.Background(), token, testClient); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := i.Redeem(context.Background(), code, testRedemption()); err != nil {
		t.Errorf("a code was revoked: %v", err)
	}
	c.Advance(time.Hour)
	if err := i.Revoke(context.Background(), tokens.Access.Reveal(), testClient); err != nil {
		t.Errorf("expired access token: %v", err)
	}
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Errorf("an expired access token ended the grant: %v", err)
	}
}

func TestRevocationByAnotherClientIsRefused(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	for _, token := range []string{tokens.Access.Reveal(), tokens.Refresh.Reveal()} {
		wantCode(t, i.Revoke(context.Background(), token, "client-2"), oauth.InvalidGrant)
	}
	mustVerify(t, i.Service, tokens.Access)
	if !strings.Contains(i.log.String(), "presented_by=client-2") {
		t.Errorf("log: %s", i.log)
	}
}

// A revoker dies between its two writes: the others complete what it began.
func TestHalfRevocationIsCompletedByOthers(t *testing.T) {
	half := func(t *testing.T) (*clock, *instance, *instance, Tokens) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		a.wire.Before(storetest.Fail(errDown, storetest.Replace))
		wantCode(t, a.Revoke(context.Background(), tokens.Refresh.Reveal(), testClient), oauth.TemporarilyUnavailable)
		return c, a, b, tokens
	}
	t.Run("before an instance forgets it", func(t *testing.T) {
		c, _, b, tokens := half(t)
		b.poll(context.Background())
		c.Advance(time.Hour)
		if !b.revoked.has(tokens.Grant.ID) {
			t.Fatal("forgotten before it is completed")
		}
		b.poll(context.Background())
		wantMarked(t, b, tokens)
		b.poll(context.Background())
		if b.revoked.has(tokens.Grant.ID) {
			t.Error("kept although it is completed and over")
		}
	})
	t.Run("before the sweep removes it", func(t *testing.T) {
		c, _, b, tokens := half(t)
		c.Advance(time.Hour)
		sweepExpired(t, b)
		wantMarked(t, b, tokens)
		if rows := revocationRows(t, b); rows != 0 {
			t.Errorf("%d rows are left", rows)
		}
	})
	t.Run("when the sweep cannot, the row stays", func(t *testing.T) {
		c, _, b, tokens := half(t)
		c.Advance(time.Hour)
		b.wire.Before(storetest.Fail(errDown, storetest.Replace))
		sweepExpired(t, b)
		if rows := revocationRows(t, b); rows == 0 {
			t.Error("the row was removed before its grant is marked")
		}
		b.wire.Repair()
		_, err := refresh(b.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
	})
	t.Run("when an idle instance is asked to refresh", func(t *testing.T) {
		c, _, b, tokens := half(t)
		for _, idle := range []time.Duration{time.Second, time.Hour, 24 * time.Hour} {
			c.Advance(idle)
			_, err := refresh(newInstance(t, b.wire.Table, c.Now).Service, tokens.Refresh)
			wantCode(t, err, oauth.InvalidGrant)
		}
	})
	t.Run("when the grant is used", func(t *testing.T) {
		_, _, b, tokens := half(t)
		_, err := b.Verify(context.Background(), tokens.Access.Reveal()) // reads the list
		wantCode(t, err, oauth.InvalidToken)
		_, err = refresh(b.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
		wantMarked(t, b, tokens)
	})
	t.Run("when it is repeated", func(t *testing.T) {
		_, _, b, tokens := half(t)
		mustRevoke(t, b.Service, tokens.Refresh.Reveal())
		_, err := refresh(b.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
	})
}

// A revocation that was begun long ago must outlive the tokens that were minted
// since.
func TestRepeatedRevocationCoversLaterTokens(t *testing.T) {
	c := newClock()
	table := newTable(t)
	i := newInstance(t, table, c.Now)
	tokens := signIn(t, i.Service)
	v := announcement{Subject: tokens.Grant.Subject, Grant: tokens.Grant.ID, Reason: "begun"}
	mustAnnounce(t, i.Service, v)
	c.Advance(20 * time.Minute)
	mustRevoke(t, i.Service, tokens.Refresh.Reveal())
	sweepExpired(t, i)
	c.Advance(29 * time.Minute)
	for _, instance := range []*instance{i, newInstance(t, table, c.Now)} {
		mustBeCurrent(t, instance)
		if !instance.revoked.has(tokens.Grant.ID) {
			t.Error("the revocation is forgotten while tokens can be valid")
		}
	}
}

func TestIntrospection(t *testing.T) {
	c := newClock()
	table := newTable(t)
	i, other := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	code := create(t, i.Service)
	tokens := signIn(t, i.Service)
	ask := func(token, client string) Introspection {
		t.Helper()
		answer, err := i.Introspect(context.Background(), token, client)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	access := ask(tokens.Access.Reveal(), testClient)
	if !access.Active || access.TokenType != "Bearer" || access.Audience != string(testResource) || access.Scope != testScopes.String() ||
		access.Expires-access.IssuedAt != 1800 || access.Subject != tokens.Grant.Subject || access.ID == "" {
		t.Errorf("access token: %+v", access)
	}
	if r := ask(tokens.Refresh.Reveal(), testClient); !r.Active || r.ClientID != testClient {
		t.Errorf("refresh token: %+v", r)
	}
	next := mustRefresh(t, i.Service, tokens.Refresh)
	if !ask(tokens.Refresh.Reveal(), testClient).Active {
		t.Error("a token within its grace still works, so it is active")
	}
	c.Advance(DefaultRefreshGrace + time.Second)
	for name, inactive := range map[string]Introspection{
		"garbage":                 ask("garbage", testClient),
		"nothing":                 ask("", testClient),
		"a code":                  ask(code.Reveal(), testClient),
		"another's access token":  ask(tokens.Access.Reveal(), "client-2"),
		"another's refresh token": ask(next.Refresh.Reveal(), "client-2"),
		"a used refresh token":    ask(tokens.Refresh.Reveal(), testClient),
	} {
		if inactive != (Introspection{}) {
			t.Errorf("%s: %+v", name, inactive)
		}
	}
	mustRevoke(t, other.Service, next.Refresh.Reveal())
	for _, token := range []string{next.Access.Reveal(), next.Refresh.Reveal()} {
		if got := ask(token, testClient); got != (Introspection{}) {
			t.Errorf("revoked: %+v", got)
		}
	}
}

// A token of a key that is newer than what this instance knows is not called
// inactive.
func TestIntrospectionDoesNotGuessAboutANewerKey(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	ctx := context.Background()
	signIn(t, a.Service)
	if _, err := b.Introspect(ctx, strings.Repeat("A", 60), testClient); err != nil { // an unknown key: has the ring read
		t.Fatal(err)
	}
	c.Advance(2 * time.Second)
	mustRetire(t, a)
	token := signIn(t, a.Service).Access.Reveal()
	_, err := b.Introspect(ctx, token, testClient)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	c.Advance(keyring.UnknownInterval)
	if got, err := b.Introspect(ctx, token, testClient); err != nil || !got.Active {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestIntrospectionDoesNotGuessDuringAnOutage(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	i.wire.Before(storetest.Fail(errDown))
	for _, token := range []string{tokens.Access.Reveal(), tokens.Refresh.Reveal()} {
		_, err := i.Introspect(context.Background(), token, testClient)
		wantCode(t, err, oauth.TemporarilyUnavailable)
	}
}

// Refresh tokens are dead when Revoke returns, also if a rotation on another
// instance takes the row in between, and if the row goes.
func TestRevocationWinsAgainstWhatHappensToTheRow(t *testing.T) {
	ctx := context.Background()
	revokeWhile := func(t *testing.T, meanwhile func(b *instance, tokens Tokens)) (*instance, Tokens, error) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		mustBeCurrent(t, b)
		a.wire.Before(storetest.Once(func() error { meanwhile(b, tokens); return nil }, storetest.Replace))
		err := a.Revoke(ctx, tokens.Refresh.Reveal(), testClient)
		a.wire.Repair()
		return b, tokens, err
	}
	t.Run("a rotation", func(t *testing.T) {
		var next Tokens
		b, tokens, err := revokeWhile(t, func(b *instance, tokens Tokens) {
			var err error
			if next, err = refresh(b.Service, tokens.Refresh); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		wantMarked(t, b, tokens)
		_, err = refresh(b.Service, next.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
	})
	t.Run("the sweep", func(t *testing.T) {
		_, _, err := revokeWhile(t, func(b *instance, tokens Tokens) {
			if err := removeRow(b.wire.Table, tokens.Grant.Subject.partition(), tokens.Grant.ID); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Errorf("there is nothing left to mark: %v", err)
		}
	})
	t.Run("a rotation, and then storage is away", func(t *testing.T) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		mustBeCurrent(t, b)
		replaced := false
		a.wire.Before(func(call storetest.Call) error {
			if call.Op == storetest.Replace && !replaced {
				replaced = true
				if _, err := refresh(b.Service, tokens.Refresh); err != nil {
					t.Error(err)
				}
				return nil
			}
			if replaced {
				return errDown
			}
			return nil
		})
		wantCode(t, a.Revoke(ctx, tokens.Refresh.Reveal(), testClient), oauth.TemporarilyUnavailable)
	})
}

// A token that no call would accept any more is not active, also within the
// leeway for clocks, and after the life of tokens was made shorter.
func TestIntrospectionOfTokensThatAreOver(t *testing.T) {
	for name, tt := range map[string]struct{ lifetime, after time.Duration }{
		"at its expiry": {30 * time.Minute, 30 * time.Minute},
		"just expired":  {30 * time.Minute, 30*time.Minute + time.Second}, "a longer life before": {24 * time.Hour, 30*time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := newInstance(t, newTable(t), c.Now)
			i.accessLifetime = tt.lifetime
			tokens := signIn(t, i.Service)
			i.accessLifetime = 30 * time.Minute
			c.Advance(tt.after)
			if got, err := i.Introspect(context.Background(), tokens.Access.Reveal(), testClient); err != nil || got != (Introspection{}) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
