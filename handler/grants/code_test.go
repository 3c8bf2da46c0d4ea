package grants

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
)

func TestCodeRedeemsOnceWithOneReadAndOneWrite(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	reads, writes := i.wire.Counts()
	if reads != 0 || writes != 1 {
		t.Errorf("create: %d reads and %d writes, want 0 and 1", reads, writes)
	}
	mustBeCurrent(t, i)
	reads, writes = i.wire.Counts()
	tokens := mustRedeem(t, i.Service, code)
	r, w := i.wire.Counts()
	if r-reads != 1 || w-writes != 1 {
		t.Errorf("redeem: %d reads and %d writes, want 1 and 1", r-reads, w-writes)
	}
	access := mustVerify(t, i.Service, tokens.Access)
	if access.ClientID != testClient || !access.Scopes.Has(testScopes...) || access.Subject != tokens.Grant.Subject ||
		len(access.Roles) != 1 || access.Expires.Sub(access.Issued) != 30*time.Minute || access.TenantID != testIdentity.TenantID {
		t.Errorf("access token says %+v", access)
	}
	if tokens.Grant.Identity.Name != testIdentity.Name || tokens.ExpiresIn != 30*time.Minute {
		t.Errorf("tokens %+v", tokens)
	}
	c.Advance(CodeLifetime + leeway + time.Second)
	mustRefresh(t, i.Service, tokens.Refresh)
	if r, _ := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); r.Code != nil {
		t.Error("the bindings are kept after the code has expired")
	}
}

// Every peer that accepts one of these was broken by running it.
func TestCodeIsRefusedAndUnharmed(t *testing.T) {
	for name, change := range map[string]func(*Redemption){
		"another client":        func(r *Redemption) { r.ClientID = "client-2" },
		"another redirect port": func(r *Redemption) { r.RedirectURI = "http://127.0.0.1:33419/callback" },
		"redirect with a slash": func(r *Redemption) { r.RedirectURI += "/" },
		"no verifier":           func(r *Redemption) { r.Verifier = "" },
		"the challenge itself":  func(r *Redemption) { r.Verifier = oauth.S256(testVerifier) },
		"verifier of 42":        func(r *Redemption) { r.Verifier = testVerifier[:42] },
		"verifier with padding": func(r *Redemption) { r.Verifier += "=" },
		"a very long verifier":  func(r *Redemption) { r.Verifier = strings.Repeat("a", 129) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := newInstance(t, newTable(t), c.Now)
			code := create(t, i.Service)
			by := testRedemption()
			change(&by)
			_, err := i.Redeem(context.Background(), code, by)
			wantCode(t, err, oauth.InvalidGrant)
			if !strings.Contains(err.Error(), "authorization code") || !strings.Contains(i.log.String(), "code refused") {
				t.Errorf("answered %v, logged %s", err, i.log)
			}
			if _, err := i.Redeem(context.Background(), code, testRedemption()); err != nil {
				t.Errorf("a stranger's attempt destroyed the code: %v", err)
			}
		})
	}
}

// A code that its own client shows again, when no answer can have been lost any
// more, is known to somebody else.
func TestLateCodeReplayRevokesGrant(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	code := create(t, a.Service)
	tokens := mustRedeem(t, a.Service, code)
	mustVerify(t, a.Service, tokens.Access)
	c.Advance(RepeatWindow + time.Second)
	_, err := b.Redeem(context.Background(), code, testRedemption())
	wantCode(t, err, oauth.InvalidGrant)
	_, err = refresh(a.Service, tokens.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	c.Advance(MaxStale + time.Second)
	_, err = a.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	if !strings.Contains(b.log.String(), "presented_by="+testClient) {
		t.Errorf("the log does not say who presented it: %s", b.log)
	}
}

// Whoever cannot prove what the code was bound to changes nothing, also when it
// has been redeemed, and however late.
func TestCodeShownAgainByOthersEndsNothing(t *testing.T) {
	for name, change := range map[string]func(*Redemption){
		"by another client":     func(r *Redemption) { r.ClientID = "client-2" },
		"without the verifier":  func(r *Redemption) { r.Verifier = "" },
		"with another verifier": func(r *Redemption) { r.Verifier = strings.Repeat("a", 43) },
		"with another redirect": func(r *Redemption) { r.RedirectURI += "/" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := newInstance(t, newTable(t), c.Now)
			code := create(t, i.Service)
			tokens := mustRedeem(t, i.Service, code)
			by := testRedemption()
			change(&by)
			for range 3 {
				_, err := i.Redeem(context.Background(), code, by)
				wantCode(t, err, oauth.InvalidGrant)
				c.Advance(25 * time.Second)
			}
			if _, err := refresh(i.Service, tokens.Refresh); err != nil {
				t.Errorf("a stranger's attempt ended the sign-in: %v", err)
			}
		})
	}
}

// A client that lost the answer repeats the redemption, on whichever instance.
func TestRepeatedRedemptionGetsTokensOfTheCurrentGeneration(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	mustBeCurrent(t, b)
	code := create(t, a.Service)
	first := mustRedeem(t, a.Service, code)
	c.Advance(10 * time.Second)
	reads, writes := b.wire.Counts()
	again, err := b.Redeem(context.Background(), code, testRedemption())
	if err != nil || generation(t, b.Service, again.Refresh) != 1 {
		t.Fatalf("%v", err)
	}
	if r, w := b.wire.Counts(); r-reads != 1 || w != writes {
		t.Errorf("%d reads and %d writes, want 1 and 0", r-reads, w-writes)
	}
	mustVerify(t, a.Service, again.Access)
	mustRefresh(t, a.Service, first.Refresh)
	c.Advance(10 * time.Second)
	again, err = b.Redeem(context.Background(), code, testRedemption())
	if err != nil || generation(t, b.Service, again.Refresh) != 2 {
		t.Fatalf("after a rotation: %v", err)
	}
}

// Only clients that an operator made may come without PKCE. Then the
// redirect_uri is what binds the code, and a repetition cannot be told from a
// replay.
func TestCodeWithoutChallenge(t *testing.T) {
	issue := func(t *testing.T) (*instance, Code) {
		i := newInstance(t, newTable(t), newClock().Now)
		a := testAuthorization()
		a.CodeChallenge = ""
		code := mustCreate(t, i.Service, a)
		return i, code
	}
	for name, by := range map[string]Redemption{
		"with a verifier":       testRedemption(),
		"without redirect_uri":  {ClientID: testClient},
		"with another redirect": {ClientID: testClient, RedirectURI: testRedirect + "/"},
		"by another client":     {ClientID: "client-2", RedirectURI: testRedirect},
	} {
		t.Run("is refused "+name, func(t *testing.T) {
			i, code := issue(t)
			_, err := i.Redeem(context.Background(), code, by)
			wantCode(t, err, oauth.InvalidGrant)
		})
	}
	t.Run("is never repeated", func(t *testing.T) {
		i, code := issue(t)
		by := Redemption{ClientID: testClient, RedirectURI: testRedirect}
		tokens, err := i.Redeem(context.Background(), code, by)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Redeem(context.Background(), code, by)
		wantCode(t, err, oauth.InvalidGrant)
		_, err = refresh(i.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
	})
}

func TestRedirectURIMayBeLeftOutWithPKCE(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	by := testRedemption()
	by.RedirectURI = ""
	if _, err := i.Redeem(context.Background(), create(t, i.Service), by); err != nil {
		t.Error(err)
	}
}

// A client that has not registered for refresh_token gets none, and neither does
// one for whose user Entra gave none: it could not be used.
func TestNoRefreshTokenThatCouldNotBeUsed(t *testing.T) {
	for name, change := range map[string]func(*Authorization, *Redemption){
		"not registered for it": func(_ *Authorization, r *Redemption) { r.WithoutRefresh = true },
		"Entra gave none":       func(a *Authorization, _ *Redemption) { a.Upstream.RefreshToken = EntraRefreshToken{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := newInstance(t, newTable(t), c.Now)
			a, by := testAuthorization(), testRedemption()
			change(&a, &by)
			code := mustCreate(t, i.Service, a)
			tokens, err := i.Redeem(context.Background(), code, by)
			if err != nil || !tokens.Refresh.IsZero() {
				t.Fatalf("a refresh token: %t; %v", !tokens.Refresh.IsZero(), err)
			}
			if warned := strings.Contains(i.log.String(), "Entra gave no refresh token"); warned == by.WithoutRefresh {
				t.Errorf("warned of Entra: %t", warned)
			}
			if again, err := i.Redeem(context.Background(), code, by); err != nil || !again.Refresh.IsZero() {
				t.Errorf("repeated: a refresh token: %t; %v", !again.Refresh.IsZero(), err)
			}
			c.Advance(29 * time.Minute)
			mustVerify(t, i.Service, tokens.Access)
			if _, err := i.Get(context.Background(), tokens.Grant.Subject, tokens.Grant.ID); err != nil {
				t.Errorf("tools cannot read the grant of a valid token: %v", err)
			}
			r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
			if err != nil || r.expires.Sub(c.Now()) > 10*time.Minute {
				t.Errorf("the grant is kept until %s, %v", r.expires, err)
			}
		})
	}
}

// A redemption that finds the row changed looks again: whoever redeemed the code
// meanwhile was its client, and what is gone has ended.
func TestRedemptionThatLosesARace(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		meanwhile func(b *instance, code Code, r record) error
		want      oauth.Code // empty: it gets tokens
	}{
		"its own repetition": {func(b *instance, code Code, _ record) error {
			_, err := b.Redeem(ctx, code, testRedemption())
			return err
		}, ""},
		"the row goes":    {func(b *instance, _ Code, r record) error { return removeRow(b.wire.Table, r.subject.partition(), r.id) }, oauth.InvalidGrant},
		"a disconnection": {func(b *instance, _ Code, r record) error { return b.Disconnect(ctx, r.subject, r.id) }, oauth.InvalidGrant},
		"something else":  {func(b *instance, _ Code, r record) error { _, err := b.replace(ctx, r); return err }, oauth.TemporarilyUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			table, c := newTable(t), newClock()
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			code := create(t, a.Service)
			h, err := a.openHandle(ctx, keyring.CodeHandle, code.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			r, err := a.read(ctx, h.subjectID(), h.grantID())
			if err != nil {
				t.Fatal(err)
			}
			a.wire.Before(storetest.Once(func() error { return tt.meanwhile(b, code, r) }, storetest.Replace))
			if _, err := a.Redeem(ctx, code, testRedemption()); codeOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A version that removes the bindings at redemption leaves nothing by which its
// repetition could be told from a replay.
func TestRepeatedRedemptionWithoutBindingsIsRefusedAndEndsNothing(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	ctx := context.Background()
	code := create(t, i.Service)
	tokens := mustRedeem(t, i.Service, code)
	r, err := i.read(ctx, tokens.Grant.Subject, tokens.Grant.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Code = nil
	if _, err := i.replace(ctx, r); err != nil {
		t.Fatal(err)
	}
	_, err = i.Redeem(ctx, code, testRedemption())
	wantCode(t, err, oauth.InvalidGrant)
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Error(err)
	}
}

// What our keys have sealed and this version does not read is not valid.
func TestHandlesOfAnotherFormAreRefused(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	ctx := context.Background()
	tokens := signIn(t, i.Service)
	h, err := i.openHandle(ctx, keyring.RefreshHandle, tokens.Refresh.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	whole := h.encode()
	first := h
	first.generation = 0
	for name, plain := range map[string][]byte{
		"empty": {}, "short": whole[:len(whole)-1], "long": append(slices.Clone(whole), 0), "of a later version": append([]byte{2}, whole[1:]...),
		"of the code's generation": first.encode(),
	} {
		sealed, err := i.ring.Seal(ctx, keyring.RefreshHandle, nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = refresh(i.Service, RefreshToken{secret.New(sealed)})
		if codeOf(err) != oauth.InvalidGrant || !strings.Contains(err.Error(), "refresh token") {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(i.log.String(), "grant revoked") {
			t.Fatalf("%s: it ended the grant", name)
		}
	}
	sealed, err := i.ring.Seal(ctx, keyring.CodeHandle, nil, whole)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, i.CheckCode(ctx, Code{secret.New(sealed)}), oauth.InvalidGrant)
}

func TestUnredeemedSaysWhetherACodeIsStillToBeRedeemed(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	want := func(code Code, want bool) {
		t.Helper()
		if got, err := i.Unredeemed(context.Background(), code); err != nil || got != want {
			t.Errorf("%t, %v, want %t", got, err, want)
		}
	}
	used, unused := create(t, i.Service), create(t, i.Service)
	want(used, true)
	mustRedeem(t, i.Service, used)
	want(used, false)
	want(Code{secret.New("garbage")}, false)
	for _, end := range []func(Subject, string) error{
		func(s Subject, id string) error { return removeRow(i.wire.Table, s.partition(), id) },
		func(s Subject, id string) error { return i.Disconnect(context.Background(), s, id) },
	} {
		code := create(t, i.Service)
		h, err := i.openHandle(context.Background(), keyring.CodeHandle, code.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := end(h.subjectID(), h.grantID()); err != nil {
			t.Fatal(err)
		}
		want(code, false)
		_, err = i.Redeem(context.Background(), code, testRedemption())
		wantCode(t, err, oauth.InvalidGrant)
	}
	i.wire.Before(storetest.Fail(errDown))
	_, err := i.Unredeemed(context.Background(), unused)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.Repair()
	c.Advance(CodeLifetime)
	want(unused, false)
}

func TestHandlesAreCheckedWithoutIO(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	code, tokens := create(t, i.Service), signIn(t, i.Service)
	reads, writes := i.wire.Counts()
	if err := i.CheckCode(ctx, code); err != nil {
		t.Error(err)
	}
	if err := i.CheckRefreshToken(ctx, tokens.Refresh); err != nil {
		t.Error(err)
	}
	wantCode(t, i.CheckCode(ctx, Code{secret.New(tokens.Refresh.Reveal())}), oauth.InvalidGrant)
	wantCode(t, i.CheckRefreshToken(ctx, RefreshToken{secret.New(code.Reveal())}), oauth.InvalidGrant)
	c.Advance(CodeLifetime)
	wantCode(t, i.CheckCode(ctx, code), oauth.InvalidGrant)
	c.Advance(90 * 24 * time.Hour)
	wantCode(t, i.CheckRefreshToken(ctx, tokens.Refresh), oauth.InvalidGrant)
	for _, garbage := range []string{"", "garbage", strings.Repeat("x", 1<<16), tokens.Refresh.Reveal()} {
		_, err := refresh(i.Service, RefreshToken{secret.New(garbage)})
		wantCode(t, err, oauth.InvalidGrant)
		_, err = i.Redeem(ctx, Code{secret.New(garbage)}, testRedemption())
		wantCode(t, err, oauth.InvalidGrant)
	}
	if r, w := i.wire.Counts(); r != reads || w != writes {
		t.Errorf("%d reads and %d writes", r-reads, w-writes)
	}
}

func TestExpiredCodeIsRefusedWithoutIOAndEndsNothing(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	unused, used := create(t, i.Service), create(t, i.Service)
	tokens := mustRedeem(t, i.Service, used)
	c.Advance(CodeLifetime)
	reads, writes := i.wire.Counts()
	for _, code := range []Code{unused, used} {
		_, err := i.Redeem(context.Background(), code, testRedemption())
		wantCode(t, err, oauth.InvalidGrant)
	}
	if r, w := i.wire.Counts(); r != reads || w != writes {
		t.Error("an expired code caused I/O")
	}
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Errorf("an old code ended the sign-in: %v", err)
	}
}

func TestUnredeemedGrantIsLeftToTheSweep(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	h, err := i.openHandle(context.Background(), "code handle", code.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	row, err := i.wire.Get(context.Background(), h.subjectID().partition(), h.grantID())
	if err != nil {
		t.Fatal(err)
	}
	if until := row.Expires.Sub(c.Now()); until <= CodeLifetime || until > 10*time.Minute {
		t.Errorf("row expires in %s", until)
	}
	if strings.Contains(string(row.Value), testIdentity.Name) || strings.Contains(string(row.Value), "entra-rt") {
		t.Error("the row shows the user's name or token")
	}
	if list, err := i.List(context.Background(), h.subjectID()); err != nil || len(list) != 0 {
		t.Errorf("an unredeemed grant is listed: %v, %v", list, err)
	}
}

func TestChallengeMustBeS256(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	for _, challenge := range []string{"short", strings.Repeat("a", 44), oauth.S256("x") + "="} {
		a := testAuthorization()
		a.CodeChallenge = challenge
		_, err := i.Create(context.Background(), a)
		wantCode(t, err, oauth.InvalidRequest)
	}
}

func TestLostAnswerOfRedemptionIsRetryable(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	mustBeCurrent(t, i)
	i.wire.After(storetest.Fail(errLate, storetest.Replace))
	_, err := i.Redeem(context.Background(), code, testRedemption())
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.Repair()
	tokens, err := i.Redeem(context.Background(), code, testRedemption())
	if err != nil || generation(t, i.Service, tokens.Refresh) != 1 {
		t.Errorf("%v", err)
	}
}

func TestStorageFaultBeforeRedemptionIsRetryable(t *testing.T) {
	for _, failing := range []storetest.Op{storetest.Get, storetest.Replace} {
		i := newInstance(t, newTable(t), newClock().Now)
		code := create(t, i.Service)
		i.wire.Before(storetest.Fail(errDown, failing))
		_, err := i.Redeem(context.Background(), code, testRedemption())
		wantCode(t, err, oauth.TemporarilyUnavailable)
		i.wire.Repair()
		if _, err := i.Redeem(context.Background(), code, testRedemption()); err != nil {
			t.Errorf("%s: %v", failing, err)
		}
	}
}
