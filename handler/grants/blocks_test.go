package grants

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

const (
	blockedClient = "https://app.example/client.json"
	otherTenant   = "99999999-9999-9999-9999-999999999999"
)

// partiesOf are those of a sign-in by blockedClient.
var partiesOf = map[BlockKind]string{
	BlockClient: blockedClient, BlockDocumentHost: "App.Example", BlockRedirectHost: "127.0.0.1",
	BlockUser: string(SubjectOf(testIdentity.TenantID, testIdentity.ObjectID)), BlockTenant: strings.ToUpper(testIdentity.TenantID),
}

func signInWith(t failer, i *instance, clientID string) Tokens {
	t.Helper()
	return signInAs(t, i, testIdentity.TenantID, testIdentity.ObjectID, clientID)
}

func refreshAs(i *instance, token RefreshToken, clientID string) (Tokens, error) {
	return i.Refresh(context.Background(), token, clientID, nil, renewOK)
}

// A block refuses access tokens on every instance within MaxStale, ends the
// grant at its next use, and refuses new sign-ins. After unblocking, grants that
// were not used meanwhile go on.
func TestBlocksReachEveryInstance(t *testing.T) {
	for kind, value := range partiesOf {
		t.Run(string(kind), func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			ctx := context.Background()
			used, unused := signInWith(t, a, blockedClient), signInWith(t, a, blockedClient)
			mustVerify(t, b.Service, used.Access)
			mustBlock(t, a.Service, kind, value, "testing")
			_, err := a.Verify(ctx, used.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			c.Advance(MaxStale + time.Second)
			for _, i := range []*instance{b, newInstance(t, table, c.Now)} { // was cached, and not
				_, err := i.Verify(ctx, used.Access.Reveal())
				wantCode(t, err, oauth.InvalidToken)
			}
			_, err = refreshAs(b, used.Refresh, blockedClient)
			wantCode(t, err, oauth.InvalidGrant)
			wantReason(t, b, used, "blocked: "+string(kind))
			parties := Parties{ClientID: blockedClient, DocumentHost: "app.example", RedirectHost: "127.0.0.1",
				Subject: used.Grant.Subject, TenantID: testIdentity.TenantID}
			if got, err := b.Blocked(ctx, parties); err != nil || got == nil || got.Kind != kind || got.Reason != "testing" {
				t.Errorf("Blocked: %+v, %v", got, err)
			}
			if list, err := b.Blocks(ctx); err != nil || len(list) != 1 {
				t.Errorf("Blocks: %v, %v", list, err)
			}

			if err := b.Unblock(ctx, kind, value); err != nil {
				t.Fatal(err)
			}
			c.Advance(MaxStale + time.Second)
			if got, err := a.Blocked(ctx, parties); err != nil || got != nil {
				t.Errorf("after unblocking: %+v, %v", got, err)
			}
			mustVerify(t, a.Service, unused.Access)
			if _, err := refreshAs(a, unused.Refresh, blockedClient); err != nil {
				t.Errorf("a grant that was not used meanwhile: %v", err)
			}
		})
	}
}

func TestBlocksConcernNobodyElse(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	other := signInWith(t, i, "client-9")
	for kind, value := range map[BlockKind]string{
		BlockClient: "client-8", BlockDocumentHost: "example", BlockRedirectHost: "localhost", BlockApp: "0b071000-0000-4000-8000-00000000000b",
		BlockUser: string(SubjectOf(otherTenant, testIdentity.ObjectID)), BlockTenant: otherTenant,
	} {
		mustBlock(t, i.Service, kind, value, "")
	}
	mustVerify(t, i.Service, other.Access)
	if _, err := refreshAs(i, other.Refresh, "client-9"); err != nil {
		t.Error(err)
	}
	// A row without a value, as no version writes it, is about nobody.
	for _, kind := range []BlockKind{BlockClient, BlockApp, BlockUser} {
		if err := i.putBlock(ctx, Block{Kind: kind}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []Parties{{}, {ClientID: "client-9"}, {DocumentHost: "app.example"}, {TenantID: testIdentity.TenantID}} {
		if b, err := i.Blocked(ctx, p); err != nil || b != nil {
			t.Errorf("%+v: %+v, %v", p, b, err)
		}
	}
	if b, err := i.Blocked(ctx, Parties{AppID: "0B071000-0000-4000-8000-00000000000B"}); err != nil || b == nil {
		t.Errorf("an app id in capitals: %+v, %v", b, err)
	}
}

func TestBlocksAreCheckedWithoutIO(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	tokens := signInWith(t, i, blockedClient)
	mustBlock(t, i.Service, BlockClient, "another", "")
	reads, writes := i.wire.Counts()
	for range 100 {
		mustVerify(t, i.Service, tokens.Access)
		if _, err := i.Blocked(context.Background(), Parties{ClientID: blockedClient}); err != nil {
			t.Fatal(err)
		}
	}
	if r, w := i.wire.Counts(); r != reads || w != writes {
		t.Errorf("%d reads and %d writes", r-reads, w-writes)
	}
	i.wire.Before(storetest.Fail(errDown))
	c.Advance(MaxStale + time.Second)
	_, err := i.Blocked(context.Background(), Parties{ClientID: blockedClient})
	wantCode(t, err, oauth.TemporarilyUnavailable) // not knowing is no consent
}

// The announcement may have been swept before an idle instance looks, and it may
// be read when the blocks cannot.
func TestBlocksReachInstancesThatWereIdleOrCutOff(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		c := newClock()
		table := newTable(t)
		a, idle := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		mustBeCurrent(t, idle)
		mustBlock(t, a.Service, BlockClient, blockedClient, "")
		c.Advance(3 * time.Hour)
		sweepExpired(t, a)
		if b, err := idle.Blocked(context.Background(), Parties{ClientID: blockedClient}); err != nil || b == nil {
			t.Errorf("%+v, %v", b, err)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		mustBeCurrent(t, b)
		mustBlock(t, a.Service, BlockClient, blockedClient, "")
		c.Advance(MaxStale + time.Second)
		var n atomic.Int32
		b.wire.Before(func(call storetest.Call) error {
			if n.Add(1) > 2 {
				return errDown
			}
			return nil
		})
		wantCode(t, b.ensureCurrent(context.Background()), oauth.TemporarilyUnavailable)
		b.wire.Repair()
		if got, err := b.Blocked(context.Background(), Parties{ClientID: blockedClient}); err != nil || got == nil {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Signing out ends what was approved before, with one write, and nothing later.
func TestSignOutEndsWhatWasApprovedBefore(t *testing.T) {
	everyoneOut := func(i *instance, _ BlockKind, _ string) error {
		return i.SignOutEveryone(context.Background(), i.now(), "keys may have leaked")
	}
	one := func(i *instance, kind BlockKind, value string) error {
		return i.SignOut(context.Background(), kind, value, "left")
	}
	for name, tt := range map[string]struct {
		kind    BlockKind
		signOut func(*instance, BlockKind, string) error
	}{
		"a client": {BlockClient, one}, "a user": {BlockUser, one}, "a tenant": {BlockTenant, one}, "everyone": {everyone, everyoneOut},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			before := signInWith(t, a, blockedClient)
			stranger := signInAs(t, a, otherTenant, "somebody", "client-9")
			mustVerify(t, b.Service, before.Access)
			if err := tt.signOut(a, tt.kind, partiesOf[tt.kind]); err != nil {
				t.Fatal(err)
			}
			c.Advance(MaxStale + time.Second)
			_, err := b.Verify(context.Background(), before.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			_, err = refreshAs(b, before.Refresh, blockedClient)
			wantCode(t, err, oauth.InvalidGrant)
			wantReason(t, b, before, "signed out: "+string(tt.kind))
			parties := Parties{ClientID: blockedClient, Subject: before.Grant.Subject, TenantID: testIdentity.TenantID}
			if got, err := b.Blocked(context.Background(), parties); err != nil || got != nil {
				t.Errorf("a new sign-in is refused: %+v, %v", got, err)
			}
			parties.Granted = before.Grant.Created
			if got, err := b.Blocked(context.Background(), parties); err != nil || got == nil {
				t.Errorf("what rests on the sign-in of before is not refused: %v", err)
			}
			if tt.kind != everyone {
				mustVerify(t, b.Service, stranger.Access)
			}
			again := signInWith(t, b, blockedClient)
			mustVerify(t, a.Service, again.Access)
			c.Advance(20 * time.Minute)
			next, err := refreshAs(a, again.Refresh, blockedClient)
			if err != nil {
				t.Fatalf("signed in again: %v", err)
			}
			mustVerify(t, b.Service, next.Access)
			// The row may go when no grant of before can be left.
			c.Advance(90*24*time.Hour + time.Hour)
			sweepExpired(t, a)
			if list, err := a.Blocks(context.Background()); err != nil || len(list) != 0 {
				t.Errorf("left: %v, %v", list, err)
			}
		})
	}
}

// A party is signed out beside being blocked, and stays so when the block goes.
func TestSignOutTakesNothingOfABlock(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	granted := c.Now()
	c.Advance(time.Minute)
	mustBlock(t, i.Service, BlockClient, "c", "block")
	if err := i.SignOut(ctx, BlockClient, "c", "out"); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	for _, want := range []*Block{{Reason: "block"}, nil} {
		if b, err := i.Blocked(ctx, Parties{ClientID: "c"}); err != nil || (b == nil) != (want == nil) || b != nil && b.Reason != want.Reason {
			t.Errorf("%+v, %v", b, err)
		}
		if err := i.Unblock(ctx, BlockClient, "c"); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := i.Blocked(ctx, Parties{ClientID: "c", Granted: granted}); err != nil || b == nil || b.Reason != "out" {
		t.Errorf("the sign-out went with the block: %+v, %v", b, err)
	}
}

// Blocking and unblocking come through whatever another instance does to the row in
// between, and each is few calls of the table.
func TestBlockWinsAgainstWhatHappensToTheRow(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		before        bool // there is a block
		when          storetest.Op
		meanwhile, do func(i *instance) error
		blocked       bool
	}{
		"blocked again by another": {true, storetest.Replace, func(i *instance) error { return i.Block(ctx, BlockClient, "c", "other") },
			func(i *instance) error { return i.Block(ctx, BlockClient, "c", "mine") }, true},
		"unblocked by another": {true, storetest.Get, func(i *instance) error { return i.Unblock(ctx, BlockClient, "c") },
			func(i *instance) error { return i.Block(ctx, BlockClient, "c", "mine") }, true},
		"replaced while it is removed": {true, storetest.Delete, func(i *instance) error { return i.Block(ctx, BlockClient, "c", "other") },
			func(i *instance) error { return i.Unblock(ctx, BlockClient, "c") }, false},
		"removed while it is removed": {true, storetest.Delete, func(i *instance) error { return i.Unblock(ctx, BlockClient, "c") },
			func(i *instance) error { return i.Unblock(ctx, BlockClient, "c") }, false},
		"nothing, while it is made":    {false, storetest.Insert, func(*instance) error { return nil }, func(i *instance) error { return i.Block(ctx, BlockClient, "c", "mine") }, true},
		"nothing, while it is removed": {true, storetest.Delete, func(*instance) error { return nil }, func(i *instance) error { return i.Unblock(ctx, BlockClient, "c") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			table, c := newTable(t), newClock()
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			if tt.before {
				mustBlock(t, b.Service, BlockClient, "c", "before")
			}
			a.wire.Before(storetest.Once(func() error { return tt.meanwhile(b) }, tt.when).In(BlockPartition))
			if err := tt.do(a); err != nil {
				t.Fatal(err)
			}
			if n := a.wire.Count(); n > 8 {
				t.Errorf("%d calls of the table", n)
			}
			c.Advance(MaxStale + time.Second)
			for who, i := range map[string]*instance{"its author": a, "another": newInstance(t, table, c.Now)} {
				if got, err := i.Blocked(ctx, Parties{ClientID: "c"}); err != nil || (got != nil) != tt.blocked || got != nil && got.Reason != "mine" {
					t.Errorf("%s: %+v, %v", who, got, err)
				}
			}
		})
	}
}

func TestBlockCanBeRepeatedAndMustBeOfAKind(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	ctx := context.Background()
	for _, reason := range []string{"first", "second"} {
		mustBlock(t, i.Service, BlockClient, "c", reason)
	}
	if list, err := i.Blocks(ctx); err != nil || len(list) != 1 || list[0].Reason != "second" {
		t.Errorf("%+v, %v", list, err)
	}
	for range 2 {
		if err := i.Unblock(ctx, BlockClient, "c"); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, i.Block(ctx, "planet", "mars", ""), oauth.InvalidRequest)
	wantCode(t, i.Unblock(ctx, "planet", "mars"), oauth.InvalidRequest)
	wantCode(t, i.Block(ctx, everyone, "x", ""), oauth.InvalidRequest)
	wantCode(t, i.Block(ctx, BlockClient, "", ""), oauth.InvalidRequest)
	for kind, values := range map[BlockKind][]string{ // would match nobody
		BlockTenant: {"contoso.com", "organizations"}, BlockApp: {"My app"}, BlockUser: {"alice@contoso.com", testIdentity.ObjectID},
		BlockRedirectHost: {"https://evil.example", "evil.example/", "evil.example:8443"}, BlockDocumentHost: {"https://app.example/client.json", "@"},
	} {
		for _, value := range values {
			wantCode(t, i.Block(ctx, kind, value, ""), oauth.InvalidRequest)
			wantCode(t, i.SignOut(ctx, kind, value, ""), oauth.InvalidRequest)
		}
	}
	if err := i.Block(ctx, BlockRedirectHost, "::1", ""); err != nil {
		t.Error(err)
	}
	i.wire.Before(storetest.Fail(errDown, storetest.Insert))
	wantCode(t, i.Block(ctx, BlockClient, "c", ""), oauth.TemporarilyUnavailable)
}

// Access tokens carry long client ids as a hash; blocks, revocation and
// introspection go by the id all the same.
func TestLongClientIDs(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	asItIs := "https://app.example/" + strings.Repeat("x", maxClientID-len("https://app.example/"))
	if access := mustVerify(t, i.Service, signInWith(t, i, asItIs).Access); access.ClientID != asItIs {
		t.Errorf("client_id of %d characters: %q", maxClientID, access.ClientID)
	}
	long := asItIs + "x"
	tokens := signInWith(t, i, long)
	access := mustVerify(t, i.Service, tokens.Access)
	if len(access.ClientID) > maxClientID || strings.Contains(tokens.Access.Reveal(), "xxxx") {
		t.Errorf("client_id %q", access.ClientID)
	}
	if got, err := i.Introspect(ctx, tokens.Access.Reveal(), long); err != nil || !got.Active || got.ClientID != long {
		t.Errorf("%+v, %v", got, err)
	}
	mustBlock(t, i.Service, BlockClient, long, "")
	_, err := i.Verify(ctx, tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	if err := i.Unblock(ctx, BlockClient, long); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, i.Service, tokens.Access)
	if err := i.Revoke(ctx, tokens.Access.Reveal(), long); err != nil {
		t.Fatal(err)
	}
	_, err = i.Verify(ctx, tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
}

// What /authorize refuses and what ends the tokens go by the same host, whatever
// the scheme of the client's document.
func TestHostOfIsTheSameForEveryScheme(t *testing.T) {
	for uri, want := range map[string]string{
		"https://App.Example:8443/client.json": "app.example",
		"http://localhost:9000/client.json":    "localhost",
		"com.example.app:/callback":            "",
		"0b7f7c1e-2f0e-4b52-9d7c-1f2e3d4c5b6a": "",
		"%":                                    "",
	} {
		if got := HostOf(uri); got != want {
			t.Errorf("HostOf(%q) = %q, want %q", uri, got, want)
		}
	}
}
