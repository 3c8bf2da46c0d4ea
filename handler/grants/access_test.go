package grants

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestVerifyDoesNoStorageIO(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens, again := signIn(t, i.Service), signIn(t, i.Service)
	i.poll(context.Background()) // what Run does
	reads, writes := i.wire.Counts()
	for range 1000 {
		mustVerify(t, i.Service, tokens.Access)
		mustVerify(t, i.Service, again.Access)
		if _, err := i.Verify(context.Background(), "garbage"); err == nil {
			t.Fatal("garbage was accepted")
		}
	}
	if r, w := i.wire.Counts(); r != reads || w != writes {
		t.Errorf("%d reads and %d writes", r-reads, w-writes)
	}
	if hits, misses := i.VerifiedTokens(); hits != 1998 || misses != 1002 {
		t.Errorf("counted %d calls with a token that was verified before, and %d with another", hits, misses)
	}
}

func TestGarbageOnColdInstanceDoesNoStorageIO(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	_, err := i.Verify(context.Background(), "eyJhbGciOiJIUzI1NiJ9.e30.c2ln")
	wantCode(t, err, oauth.InvalidToken)
	if r, w := i.wire.Counts(); r != 0 || w != 0 {
		t.Errorf("%d reads and %d writes", r, w)
	}
}

func TestStaleListOfRevokedGrantsIs503(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signIn(t, i.Service)
	mustVerify(t, i.Service, tokens.Access)
	i.wire.Before(storetest.Fail(errDown))
	c.Advance(MaxStale)
	mustVerify(t, i.Service, tokens.Access)
	c.Advance(time.Second)
	_, err := i.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.Repair()
	mustVerify(t, i.Service, tokens.Access)
}

func TestStalledStorageIs503InTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance(t, newTable(t), time.Now)
		tokens := signIn(t, i.Service)
		time.Sleep(MaxStale + time.Second)
		i.wire.Before(func(storetest.Call) error { time.Sleep(30 * time.Second); return errDown })
		go i.poll(context.Background()) // waits longer than a request may
		time.Sleep(time.Second)
		begun := time.Now()
		_, err := i.Verify(t.Context(), tokens.Access.Reveal())
		wantCode(t, err, oauth.TemporarilyUnavailable)
		if waited := time.Since(begun); waited > pollWait {
			t.Errorf("waited %s", waited)
		}
		time.Sleep(time.Minute) // until the stalled calls have ended
	})
}

func TestAccessTokenExpires(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signIn(t, i.Service)
	mustVerify(t, i.Service, tokens.Access)
	c.Advance(30*time.Minute - time.Second)
	mustVerify(t, i.Service, tokens.Access)
	c.Advance(time.Second)
	for _, instance := range []*instance{i, newInstance(t, i.wire.Table, c.Now)} { // cached, and not
		_, err := instance.Verify(context.Background(), tokens.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
	}
}

// TestShorterLifetimeBindsTokensIssuedBefore: otherwise a token that was
// revoked would be good again once its revocation is forgotten.
func TestShorterLifetimeBindsTokensIssuedBefore(t *testing.T) {
	c := newClock()
	before := newInstance(t, newTable(t), c.Now)
	before.accessLifetime = 24 * time.Hour
	revoked, kept := signIn(t, before.Service), signIn(t, before.Service)

	now := newInstance(t, before.wire.Table, c.Now)
	mustVerify(t, now.Service, kept.Access)
	mustRevoke(t, now.Service, revoked.Refresh.Reveal())
	c.Advance(time.Hour)
	sweepExpired(t, now)
	for _, tokens := range []Tokens{revoked, kept} {
		for _, instance := range []*instance{now, newInstance(t, before.wire.Table, c.Now)} { // cached, and not
			_, err := instance.Verify(context.Background(), tokens.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
		}
	}
}

func TestForgedAccessTokens(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signIn(t, i.Service)
	code := create(t, i.Service)
	kid, key, err := i.ring.Signing(context.Background(), keyring.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	_, foreignKey, err := i.ring.Signing(context.Background(), keyring.ConsentForm)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(method jwt.SigningMethod, key any, change func(*claims, map[string]any)) string {
		cl := &claims{Issuer: testIssuer, Audience: string(testResource), Subject: tokens.Grant.Subject, GrantID: tokens.Grant.ID,
			ClientID: testClient, IssuedAt: c.Now().Add(-time.Minute).Unix(), Expires: c.Now().Add(time.Minute).Unix(), ID: "x"}
		token := jwt.NewWithClaims(method, cl)
		token.Header["typ"], token.Header["kid"] = tokenType, kid
		if change != nil {
			change(cl, token.Header)
		}
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := i.Verify(context.Background(), forge(jwt.SigningMethodHS256, key, nil)); err != nil {
		t.Fatalf("the forgery is not good enough to prove anything: %v", err)
	}
	parts := strings.Split(tokens.Access.Reveal(), ".")
	for name, raw := range map[string]string{
		"alg none":                            forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"alg HS512":                           forge(jwt.SigningMethodHS512, key, nil),
		"another purpose":                     forge(jwt.SigningMethodHS256, foreignKey, nil),
		"key guessed":                         forge(jwt.SigningMethodHS256, []byte("secret"), nil),
		"typ JWT":                             forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { h["typ"] = "JWT" }),
		"no typ":                              forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { delete(h, "typ") }),
		"no kid":                              forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { delete(h, "kid") }),
		"unknown kid":                         forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { h["kid"] = strings.Repeat("0", len(kid)) }),
		"kid is a path":                       forge(jwt.SigningMethodHS256, key, func(_ *claims, h map[string]any) { h["kid"] = "../../etc/passwd" }),
		"another issuer":                      forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Issuer += "/" }),
		"a sibling resource":                  forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Audience = testIssuer + "/other" }),
		"no audience":                         forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Audience = "" }),
		"expired":                             forge(jwt.SigningMethodHS256, key, func(cl *claims, _ map[string]any) { cl.Expires = c.Now().Add(-time.Minute).Unix() }),
		"no expiry":                           forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Expires = 0 }),
		"issued in an hour":                   forge(jwt.SigningMethodHS256, key, func(cl *claims, _ map[string]any) { cl.IssuedAt = c.Now().Add(time.Hour).Unix() }),
		"claims exchanged":                    parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2],
		"signature cut":                       tokens.Access.Reveal()[:len(tokens.Access.Reveal())-1],
		"space before":                        " " + tokens.Access.Reveal(),
		"refresh token":                       tokens.Refresh.Reveal(),
		"code":                                code.Reveal(),
		"nothing":                             "",
		"very long":                           strings.Repeat("a.", 100_000),
		"signed, and longer than any of ours": forge(jwt.SigningMethodHS256, key, func(c *claims, _ map[string]any) { c.Scope = strings.Repeat("x", maxToken) }),
		"a token from a peer":                 "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjEifQ.eyJhdWQiOiJodHRwczovL21jcC5leGFtcGxlL21jcCJ9.c2ln",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := i.Verify(context.Background(), raw)
			wantCode(t, err, oauth.InvalidToken)
		})
	}
}

func TestNoTokenPassesForAnother(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	code := create(t, i.Service)
	tokens := signIn(t, i.Service)
	for name, text := range map[string]string{"access token": tokens.Access.Reveal(), "code": code.Reveal()} {
		_, err := refresh(i.Service, RefreshToken{secret.New(text)})
		if err == nil {
			t.Errorf("a %s was refreshed", name)
		}
	}
	for name, text := range map[string]string{"access token": tokens.Access.Reveal(), "refresh token": tokens.Refresh.Reveal()} {
		if _, err := i.Redeem(context.Background(), Code{secret.New(text)}, testRedemption()); err == nil {
			t.Errorf("a %s was redeemed", name)
		}
	}
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Errorf("trying ended the grant: %v", err)
	}
}

func TestAccessTokenHoldsNoName(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.Access.Reveal(), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"Ada", "ada@", testIdentity.ObjectID, "entra-"} {
		if strings.Contains(string(body), private) {
			t.Errorf("the access token holds %q: %s", private, body)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	for _, claim := range []string{"iss", "aud", "sub", "client_id", "scope", "roles", "gid", "iat", "exp", "jti"} {
		if _, ok := got[claim]; !ok {
			t.Errorf("no %s", claim)
		}
	}
}

func TestKeyRotationLogsNobodyOut(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	tokens := signIn(t, a.Service)
	mustRotate(t, b)
	c.Advance(11 * time.Minute)
	mustVerify(t, b.Service, tokens.Access)
	next := mustRefresh(t, b.Service, tokens.Refresh)
	mustVerify(t, a.Service, next.Access)
	mustVerify(t, a.Service, tokens.Access)
	if _, err := refresh(a.Service, next.Refresh); err != nil {
		t.Error(err)
	}
}

// The remedy after a leak: on every instance, also on one that has verified the
// token before, within MaxStale.
func TestWhatARetiredKeySignedIsRefusedEverywhereWithinMaxStale(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	leaked := signIn(t, a.Service)
	mustVerify(t, a.Service, leaked.Access)
	mustVerify(t, b.Service, leaked.Access)
	mustRetire(t, a)
	if err := a.AnnounceKeyChange(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, err := a.Verify(context.Background(), leaked.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken) // at once where it was retired
	c.Advance(MaxStale + time.Second)
	for name, i := range map[string]*instance{"the instance that retired it": a, "another": b, "a new one": newInstance(t, table, c.Now)} {
		_, err := i.Verify(context.Background(), leaked.Access.Reveal())
		if e := oauth.AsError(err); err == nil || e.Code != oauth.InvalidToken {
			t.Errorf("%s, access token: %v", name, err)
		}
		_, err = refresh(i.Service, leaked.Refresh)
		if e := oauth.AsError(err); err == nil || e.Code != oauth.InvalidGrant {
			t.Errorf("%s, refresh token: %v", name, err)
		}
		tokens := signIn(t, i.Service)
		mustVerify(t, a.Service, tokens.Access)
		mustVerify(t, b.Service, tokens.Access)
	}
}

// An instance that has heard of a retirement and cannot read the ring does not go on
// with the keys that it has.
func TestRetirementWhoseKeysCannotBeReadIs503(t *testing.T) {
	c := newClock()
	table := newTable(t)
	cut := storetest.Instrument(table)
	a, b := newInstance(t, table, c.Now), withRingOn(t, newInstance(t, table, c.Now), cut)
	leaked := signIn(t, a.Service)
	mustVerify(t, b.Service, leaked.Access)
	mustRetire(t, a)
	if err := a.AnnounceKeyChange(context.Background()); err != nil {
		t.Fatal(err)
	}
	cut.Before(storetest.Fail(errDown))
	c.Advance(MaxStale + time.Second)
	_, err := b.Verify(context.Background(), leaked.Access.Reveal())
	wantCode(t, err, oauth.TemporarilyUnavailable)
	cut.Repair()
	c.Advance(2 * time.Second)
	_, err = b.Verify(context.Background(), leaked.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
}

// A newer handle may point to a grant that was sealed with an older key. When
// that has leaked and is retired, the grant cannot go on: its client is told to
// sign in again, not to try again.
func TestGrantThatARetiredKeySealedEnds(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	mustRotate(t, i)
	c.Advance(keyring.PublishBefore - time.Second)
	mustRefresh(t, i.Service, first.Refresh)
	c.Advance(2 * time.Second)
	late, err := refresh(i.Service, first.Refresh) // in grace: a handle of the new key
	if err != nil {
		t.Fatal(err)
	}
	mustRetire(t, i)
	_, err = i.Get(context.Background(), late.Grant.Subject, late.Grant.ID)
	wantCode(t, err, oauth.InvalidToken)
	_, err = refresh(i.Service, first.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	// At first the grant is too young for another rotation; then it ends for good.
	for range 2 {
		_, err = refresh(i.Service, late.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
		c.Advance(DefaultRefreshGrace / 15)
	}
	wantMarked(t, i, late)
}

// withRingOn gives i a key ring of its own on table.
func withRingOn(t *testing.T, i *instance, table store.Table) *instance {
	t.Helper()
	i.ring = keyring.New(keyring.Options{Table: table, Wrapper: testWrapper(t), Now: i.now})
	i.Service.ring = i.ring
	return i
}

func TestKeysOutOfReachAre503(t *testing.T) {
	c := newClock()
	table := newTable(t)
	tokens := signIn(t, newInstance(t, table, c.Now).Service)
	code := create(t, newInstance(t, table, c.Now).Service)
	cut := storetest.Instrument(table)
	cut.Before(storetest.Fail(errDown))
	i := withRingOn(t, newInstance(t, table, c.Now), cut)
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"unredeemed":                  func() error { _, err := i.Unredeemed(ctx, code); return err },
		"upstream":                    func() error { _, err := i.Upstream(ctx, tokens.Grant); return err },
		"update upstream":             func() error { _, err := i.UpdateUpstream(ctx, tokens.Grant, Upstream{}); return err },
		"create":                      func() error { _, err := i.Create(ctx, testAuthorization()); return err },
		"redeem":                      func() error { _, err := i.Redeem(ctx, code, testRedemption()); return err },
		"refresh":                     func() error { _, err := refresh(i.Service, tokens.Refresh); return err },
		"verify":                      func() error { _, err := i.Verify(ctx, tokens.Access.Reveal()); return err },
		"revoke":                      func() error { return i.Revoke(ctx, tokens.Access.Reveal(), testClient) },
		"introspect":                  func() error { _, err := i.Introspect(ctx, tokens.Access.Reveal(), testClient); return err },
		"revoke, a refresh token":     func() error { return i.Revoke(ctx, tokens.Refresh.Reveal(), testClient) },
		"introspect, a refresh token": func() error { _, err := i.Introspect(ctx, tokens.Refresh.Reveal(), testClient); return err },
		"get":                         func() error { _, err := i.Get(ctx, tokens.Grant.Subject, tokens.Grant.ID); return err },
		"list":                        func() error { _, err := i.List(ctx, tokens.Grant.Subject); return err },
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, call(), oauth.TemporarilyUnavailable) })
	}
}

// An instance that has not read the ring for longer than it may sign with it opens
// what it is shown, issues nothing, and loses nothing: when the ring is there again,
// the same requests succeed.
func TestWithoutAKeyToSignWithNothingIsIssuedAndNothingLost(t *testing.T) {
	c := newClock()
	table := newTable(t)
	cut := storetest.Instrument(table)
	i := withRingOn(t, newInstance(t, table, c.Now), cut)
	first := signIn(t, i.Service)
	cut.Before(storetest.Fail(errDown))
	for range 72 { // the list of revocations is kept current meanwhile
		c.Advance(keyring.Overlap/72 - 10*time.Second/72)
		mustBeCurrent(t, i)
	}
	code := create(t, i.Service)
	used := create(t, i.Service)
	mustRedeem(t, i.Service, used)
	second := mustRefresh(t, i.Service, first.Refresh)
	ctx := context.Background()
	for _, away := range []bool{true, false} {
		if c.Advance(20 * time.Second); !away {
			cut.Repair()
		}
		for _, call := range []struct {
			name string
			do   func() error
		}{
			{"create", func() error { _, err := i.Create(ctx, testAuthorization()); return err }},
			{"redeem", func() error { _, err := i.Redeem(ctx, code, testRedemption()); return err }},
			{"redeem again", func() error {
				if away {
					_, err := i.Redeem(ctx, used, testRedemption())
					return err
				}
				return nil // too late by now
			}},
			{"store Entra's tokens", func() error { _, err := i.UpdateUpstream(ctx, second.Grant, Upstream{}); return err }},
			{"refresh within the grace", func() error { _, err := refresh(i.Service, first.Refresh); return err }},
			{"refresh", func() error { _, err := refresh(i.Service, second.Refresh); return err }},
		} {
			switch err := call.do(); {
			case !away && err != nil:
				t.Errorf("%s, when the ring is there again: %v", call.name, err)
			case away && codeOf(err) != oauth.TemporarilyUnavailable:
				t.Errorf("%s: %v", call.name, err)
			}
		}
		if _, err := i.Get(ctx, second.Grant.Subject, second.Grant.ID); err != nil {
			t.Errorf("get: %v", err)
		}
	}
}

// A key that is retired while a token is being verified with it: the token is not
// accepted because it was verified before.
func TestTokenVerifiedWhileItsKeyIsRetiredIsNotRemembered(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a := newInstance(t, table, c.Now)
	cut := storetest.Instrument(table)
	b := withRingOn(t, newInstance(t, table, c.Now), cut)
	mustVerify(t, b.Service, signIn(t, a.Service).Access)
	mustRetire(t, a)
	leaked := signIn(t, a.Service)
	cut.After(storetest.Once(func() error { // b has read the ring
		b.forgetVerified()
		return a.ring.Retire(context.Background(), 2)
	}, storetest.List))
	mustVerify(t, b.Service, leaked.Access)
	if err := b.ring.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, err := b.Verify(context.Background(), leaked.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
}

func TestNothingSecretIsLogged(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	code := create(t, i.Service)
	tokens := signIn(t, i.Service)
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "code", code, "access", tokens.Access, "refresh", tokens.Refresh, "tokens", tokens,
			"grant", tokens.Grant, "identity", testIdentity, "upstream", testAuthorization().Upstream)
	}
	for _, secret := range []string{code.Reveal(), tokens.Access.Reveal(), tokens.Refresh.Reveal(), "entra-rt", "entra-at", "Ada", "ada@"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("logged: %s", secret)
		}
	}
}

func TestKindsOfCallersHaveNames(t *testing.T) {
	if got := fmt.Sprintf("%s %s %s", User, Application, Agent); got != "user application agent" {
		t.Error(got)
	}
}

func TestSubjectsDifferByTenant(t *testing.T) {
	if SubjectOf("a", "b") == SubjectOf("b", "a") || SubjectOf("t1", "o") == SubjectOf("t2", "o") {
		t.Error("two users share a subject")
	}
	if SubjectOf("ABC", "DEF") != SubjectOf("abc", "def") {
		t.Error("the spelling of a GUID makes another user")
	}
}

func TestRunKeepsTheListFreshWhileThereIsTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInstance(t, newTable(t), time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { i.Run(ctx); close(done) }()
		synctest.Wait()
		if i.revoked.readAt().IsZero() {
			t.Error("the list is not read at the start")
		}
		if lag, known := i.RevocationLag(); known {
			t.Errorf("a lag of %s is told of a list that is not read without requests", lag)
		}
		tokens := signIn(t, i.Service)
		mustVerify(t, i.Service, tokens.Access)
		time.Sleep(pollTail - time.Second)
		if lag, known := i.RevocationLag(); !known || lag > pollInterval {
			t.Errorf("the list is %s old, known: %t", lag, known)
		}
		reads, _ := i.wire.Counts()
		mustVerify(t, i.Service, tokens.Access)
		if r, _ := i.wire.Counts(); r != reads {
			t.Error("a request had to read the list")
		}
		time.Sleep(10 * pollTail)
		reads, _ = i.wire.Counts()
		time.Sleep(10 * pollTail)
		if r, _ := i.wire.Counts(); r != reads {
			t.Error("an idle instance polls")
		}
		cancel()
		<-done
	})
}

// Whatever a client asks for keeps the list current, so that the calls that
// follow need not wait for it.
func TestEveryKindOfRequestKeepsTheListCurrent(t *testing.T) {
	ctx := context.Background()
	for name, request := range map[string]func(*instance, Code, Tokens){
		"verify":     func(i *instance, _ Code, tokens Tokens) { _, _ = i.Verify(ctx, tokens.Access.Reveal()) },
		"redeem":     func(i *instance, code Code, _ Tokens) { _, _ = i.Redeem(ctx, code, testRedemption()) },
		"refresh":    func(i *instance, _ Code, tokens Tokens) { _, _ = refresh(i.Service, tokens.Refresh) },
		"revoke":     func(i *instance, _ Code, tokens Tokens) { _ = i.Revoke(ctx, tokens.Access.Reveal(), testClient) },
		"introspect": func(i *instance, _ Code, tokens Tokens) { _, _ = i.Introspect(ctx, tokens.Access.Reveal(), testClient) },
		"blocked":    func(i *instance, _ Code, _ Tokens) { _, _ = i.Blocked(ctx, Parties{}) },
		"tenant":     func(i *instance, _ Code, _ Tokens) { _, _ = i.TenantAllowed(ctx, otherTenant) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newInstance(t, newTable(t), time.Now)
				code, tokens := create(t, i.Service), signIn(t, i.Service)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { i.Run(ctx); close(done) }()
				time.Sleep(2 * pollTail)
				request(i, code, tokens)
				time.Sleep(pollTail - pollInterval)
				if age := time.Since(i.revoked.readAt()); age > MaxStale {
					t.Errorf("the list is %s old", age)
				}
				cancel()
				<-done
			})
		})
	}
}

// With the list of revocations at hand and the keys out of reach, a forged token
// is as unknown as a good one.
func TestTokensAreNotAcceptedWhileKeysAloneAreOutOfReach(t *testing.T) {
	c := newClock()
	table := newTable(t)
	tokens := signIn(t, newInstance(t, table, c.Now).Service)
	i := newInstance(t, table, c.Now)
	mustBeCurrent(t, i)
	cut := storetest.Instrument(table)
	cut.Before(storetest.Fail(errDown))
	withRingOn(t, i, cut)
	parts := strings.Split(tokens.Access.Reveal(), ".")
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, token := range map[string]string{"good": tokens.Access.Reveal(), "forged": forged} {
		access, err := i.Verify(context.Background(), token)
		if access != nil {
			t.Errorf("a %s token was accepted", name)
		}
		wantCode(t, err, oauth.TemporarilyUnavailable)
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	i := newInstance(b, newTable(b), time.Now)
	raw := signIn(b, i.Service).Access.Reveal()
	mustVerify(b, i.Service, AccessToken{secret.New(raw)})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Verify(ctx, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyFirst(b *testing.B) {
	i := newInstance(b, newTable(b), time.Now)
	raw := signIn(b, i.Service).Access.Reveal()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.parse(ctx, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleSubjectOf() {
	fmt.Println(len(SubjectOf("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")))
	// Output: 64
}

// An administrator's MCP client acts for a person, and not for the administrator.
func TestTheRoleThatManagesIsInNoAccessToken(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	a := testAuthorization()
	a.Identity.Roles = []string{"Reader", ManageRole}
	code := mustCreate(t, i.Service, a)
	tokens := mustRedeem(t, i.Service, code)
	access, err := i.Verify(t.Context(), tokens.Access.Reveal())
	if err != nil || len(access.Roles) != 1 || access.Roles[0] != "Reader" {
		t.Errorf("%+v, %v", access, err)
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.Access.Reveal(), ".")[1])
	if err != nil || strings.Contains(string(body), ManageRole) {
		t.Errorf("%s, %v", body, err)
	}
}
