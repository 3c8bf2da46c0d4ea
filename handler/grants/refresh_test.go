package grants

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
)

func generation(t failer, s *Service, token RefreshToken) uint64 {
	t.Helper()
	h, err := s.openHandle(context.Background(), keyring.RefreshHandle, token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return h.generation
}

func TestRefreshRotatesWithOneReadAndOneWrite(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	mustBeCurrent(t, i)
	reads, writes := i.wire.Counts()
	second := mustRefresh(t, i.Service, first.Refresh)
	if r, w := i.wire.Counts(); r-reads != 1 || w-writes != 1 {
		t.Errorf("%d reads and %d writes, want 1 and 1", r-reads, w-writes)
	}
	if g := generation(t, i.Service, second.Refresh); g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
	g := mustGet(t, i.Service, second.Grant.Subject, second.Grant.ID)
	if up, err := i.Upstream(context.Background(), g); err != nil || up.RefreshToken.Reveal() != "entra-rt-n" {
		t.Errorf("upstream %v, %v", up, err)
	}
}

func TestRefreshRetryWithinGraceYieldsSameSuccessor(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	first := signIn(t, a.Service)
	mustRefresh(t, a.Service, first.Refresh)
	c.Advance(DefaultRefreshGrace)
	_, writes := b.wire.Counts()
	renewed := false
	retry, err := b.Refresh(context.Background(), first.Refresh, testClient, nil, func(ctx context.Context, u Upstream, id Identity) (Renewal, error) {
		renewed = true
		return renewOK(ctx, u, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, w := b.wire.Counts(); w != writes || renewed {
		t.Error("a retry wrote or asked upstream again")
	}
	if g := generation(t, b.Service, retry.Refresh); g != 2 {
		t.Errorf("generation %d, want 2", g)
	}
	if third, err := refresh(a.Service, retry.Refresh); err != nil || generation(t, a.Service, third.Refresh) != 3 {
		t.Errorf("the successor does not work: %v", err)
	}
}

func TestRefreshReuseRevokesGrant(t *testing.T) {
	for name, reuse := range map[string]func(*clock, *Service, RefreshToken, RefreshToken) RefreshToken{
		"previous after the grace": func(c *clock, _ *Service, first, _ RefreshToken) RefreshToken {
			c.Advance(DefaultRefreshGrace + time.Second)
			return first
		},
		"older after the grace": func(c *clock, s *Service, first, second RefreshToken) RefreshToken {
			c.Advance(40 * time.Second)
			if _, err := refresh(s, second); err != nil {
				panic(err)
			}
			c.Advance(21 * time.Second)
			return first
		},
		"a generation that is not there yet": func(_ *clock, s *Service, first, _ RefreshToken) RefreshToken {
			h, err := s.openHandle(context.Background(), keyring.RefreshHandle, first.Reveal())
			if err != nil {
				panic(err)
			}
			later, err := s.sealHandle(context.Background(), keyring.RefreshHandle,
				record{subject: h.subjectID(), id: h.grantID(), Generation: 9}, time.Hour)
			if err != nil {
				panic(err)
			}
			return RefreshToken{secret.New(later)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			first := signIn(t, a.Service)
			second := mustRefresh(t, a.Service, first.Refresh)
			stolen := reuse(c, a.Service, first.Refresh, second.Refresh)
			_, err := refresh(b.Service, stolen)
			wantCode(t, err, oauth.InvalidGrant)
			_, err = refresh(a.Service, second.Refresh)
			wantCode(t, err, oauth.InvalidGrant)
			c.Advance(MaxStale + time.Second)
			_, err = a.Verify(context.Background(), second.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			if !strings.Contains(b.log.String(), "refresh token reuse") {
				t.Errorf("log: %s", b.log)
			}
		})
	}
}

func TestRefreshTokenOfAnotherClientIsRefusedAndLogged(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	_, err := i.Refresh(context.Background(), first.Refresh, "client-2", nil, renewOK)
	wantCode(t, err, oauth.InvalidGrant)
	if !strings.Contains(i.log.String(), "presented_by=client-2") {
		t.Errorf("log: %s", i.log)
	}
	if _, err := refresh(i.Service, first.Refresh); err != nil {
		t.Errorf("a stranger logged the user out: %v", err)
	}
}

// One rule for every scope that was not granted: it is ignored, and the answer
// says which scopes the token has.
func TestRefreshNarrowsScopes(t *testing.T) {
	clk := newClock()
	i := newInstance(t, newTable(t), clk.Now)

	token := signIn(t, i.Service).Refresh
	for _, c := range []struct{ ask, want string }{
		{"", testScopes.String()},
		{"files.read", "files.read"},
		{" openid  files.read ", "files.read openid"},
		{"openid offline_access", "openid"},
		{"openid never-heard-of", "openid"},
		{"openid files.write", "openid"}, // known, and not granted
		{"files.write", testScopes.String()},
		{"offline_access", testScopes.String()},
	} {
		tokens, err := i.Refresh(context.Background(), token, testClient, oauth.ParseScopes(c.ask), renewOK)
		if err != nil {
			t.Fatalf("%q: %v", c.ask, err)
		}
		if got := mustVerify(t, i.Service, tokens.Access).Scopes.String(); got != c.want || tokens.Scopes.String() != c.want {
			t.Errorf("%q: token has %q, response %q, want %q", c.ask, got, tokens.Scopes, c.want)
		}
		token = tokens.Refresh
		clk.Advance(time.Minute)
	}
}

// Clients that refresh with their configured scopes leave out what every call
// needs.
func TestRefreshKeepsTheRequiredScopes(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	i.required = oauth.NewScopes("openid", "profile", "never.granted")
	tokens, err := i.Refresh(context.Background(), signIn(t, i.Service).Refresh, testClient, oauth.NewScopes("openid"), renewOK)
	if err != nil || tokens.Scopes.String() != "openid profile" {
		t.Errorf("%q, %v", tokens.Scopes, err)
	}
}

func TestLostAnswerOfRotationIsFoundOut(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	i.wire.After(storetest.Fail(errLate, storetest.Replace))
	second, err := refresh(i.Service, first.Refresh)
	if err != nil {
		t.Fatalf("the row says that the rotation happened: %v", err)
	}
	i.wire.Repair()
	if g := generation(t, i.Service, second.Refresh); g != 2 {
		t.Errorf("generation %d", g)
	}
}

// Clients race, and one of them uses the answer at once. Whoever comes late
// within the grace gets the current generation, however many there were.
func TestLateDuplicatesWithinTheGraceAreAnswered(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	tokens := signIn(t, a.Service)
	var used []RefreshToken
	begun := c.Now()
	for n := uint64(2); c.Now().Sub(begun) <= DefaultRefreshGrace; n++ {
		used = append(used, tokens.Refresh)
		var err error
		if tokens, err = refresh(a.Service, tokens.Refresh); err != nil || generation(t, a.Service, tokens.Refresh) != n {
			t.Fatalf("rotation to %d: %v", n, err)
		}
		for at, late := range used {
			answer, err := refresh(b.Service, late)
			if err != nil || generation(t, b.Service, answer.Refresh) != n {
				t.Fatalf("generation %d while the grant is at %d: %v", at+1, n, err)
			}
		}
		c.Advance(DefaultRefreshGrace / 15)
	}
	if len(used) != maxRotations {
		t.Errorf("%d rotations within the grace, and the grant remembers %d", len(used), maxRotations)
	}
	if _, err := refresh(b.Service, tokens.Refresh); err != nil {
		t.Errorf("the newest: %v", err)
	}
	// Those after the grace are not kept.
	r, err := a.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if err != nil || len(r.Rotations) != maxRotations {
		t.Errorf("%d rotations are kept, %v", len(r.Rotations), err)
	}
}

// So that a grant can remember every rotation within the grace, what is younger
// than a fifteenth of it is answered as it is.
func TestYoungGenerationIsNotRotated(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	second, err := refresh(i.Service, signIn(t, i.Service).Refresh)
	if err != nil || generation(t, i.Service, second.Refresh) != 2 {
		t.Fatalf("the first generation: %v", err)
	}
	c.Advance(4*time.Second - time.Millisecond)
	_, writes := i.wire.Counts()
	again, err := i.Refresh(context.Background(), second.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		t.Error("Entra was asked")
		return Renewal{}, errDown
	})
	if err != nil || generation(t, i.Service, again.Refresh) != 2 {
		t.Fatalf("%v", err)
	}
	if _, w := i.wire.Counts(); w != writes {
		t.Error("something was written")
	}
	c.Advance(time.Millisecond)
	if third, err := refresh(i.Service, again.Refresh); err != nil || generation(t, i.Service, third.Refresh) != 3 {
		t.Errorf("after it: %v", err)
	}
}

// An instance of a version that kept only the last rotation drops the others.
func TestRotationsOfEarlierVersionsAreHonoured(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	second := mustRefresh(t, i.Service, first.Refresh)
	r, err := i.read(context.Background(), first.Grant.Subject, first.Grant.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Rotations = nil
	if _, err := i.replace(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	c.Advance(DefaultRefreshGrace)
	if again, err := refresh(i.Service, first.Refresh); err != nil || generation(t, i.Service, again.Refresh) != 2 {
		t.Errorf("%v", err)
	}
	third := mustRefresh(t, i.Service, second.Refresh)
	// It kept when the last generation ended, which says nothing of those before.
	if r, err = i.read(context.Background(), first.Grant.Subject, first.Grant.ID); err != nil {
		t.Fatal(err)
	}
	r.Rotations = nil
	if _, err := i.replace(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := refresh(i.Service, second.Refresh); err != nil {
		t.Errorf("the one before: %v", err)
	}
	_, err = refresh(i.Service, first.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	_, err = refresh(i.Service, third.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
}

// Without a way to ask Entra nothing is refreshed; a token is refused by nobody
// for that.
func TestServiceWithTheRequiredOptionsAlone(t *testing.T) {
	table := newTable(t)
	s := New(Options{Table: table, Ring: keyring.New(keyring.Options{Table: table, Wrapper: testWrapper(t)}), Issuer: testIssuer, Resource: testResource})
	begun := time.Now()
	tokens := signIn(t, s)
	if access := mustVerify(t, s, tokens.Access); access.Issued.Before(begun.Add(-2*time.Second)) || access.Expires.Sub(access.Issued) != defaultAccessLifetime {
		t.Errorf("issued %s, expires %s", access.Issued, access.Expires)
	}
	for range 2 {
		_, err := refresh(s, tokens.Refresh)
		wantCode(t, err, oauth.TemporarilyUnavailable)
	}
}

// The grace may not be so long that a stolen token is never noticed.
func TestGraceIsAtMostHalfTheLifeOfAccessTokens(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		time.Hour: time.Minute, 2 * time.Minute: time.Minute, time.Minute: 30 * time.Second, 10 * time.Second: 5 * time.Second,
	} {
		if got := New(Options{AccessLifetime: life}).refreshGrace; got != want {
			t.Errorf("%s: %s, want %s", life, got, want)
		}
	}
	if got := New(Options{RefreshGrace: 5 * time.Minute}).refreshGrace; got != 5*time.Minute {
		t.Errorf("set: %s", got)
	}
}

// However long Entra wants to be left alone, a client that waits as it is told
// finds its token still accepted, even if another of its processes used it.
func TestNobodyIsToldToWaitForLongerThanTheGraceAllows(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	_, err := i.Refresh(context.Background(), first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		return Renewal{}, oauth.Unavailable("Entra is busy.", 5*time.Minute, nil)
	})
	wantCode(t, err, oauth.TemporarilyUnavailable)
	wait := oauth.AsError(err).RetryAfter
	if wait <= 0 || wait > DefaultRefreshGrace/2 {
		t.Fatalf("told to wait %s", wait)
	}
	mustRefresh(t, i.Service, first.Refresh)
	c.Advance(wait)
	if _, err := refresh(i.Service, first.Refresh); err != nil {
		t.Errorf("who waited was logged out: %v", err)
	}
}

func TestGrantLifetimeEndsAGrantHoweverOftenItIsUsed(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	i.grantLifetime = 3 * time.Hour
	tokens := signIn(t, i.Service)
	for range 5 {
		c.Advance(30 * time.Minute)
		tokens = mustRefresh(t, i.Service, tokens.Refresh)
	}
	c.Advance(20 * time.Minute)
	tokens, err := refresh(i.Service, tokens.Refresh)
	if err != nil || tokens.ExpiresIn != 10*time.Minute {
		t.Fatalf("the last access token lives %s, %v", tokens.ExpiresIn, err)
	}
	c.Advance(10 * time.Minute)
	_, err = i.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	_, err = refresh(i.Service, tokens.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	if list, err := i.List(context.Background(), tokens.Grant.Subject); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

func TestStorageFaultDuringRefreshIsRetryable(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, failing := range []storetest.Op{storetest.Get, storetest.Replace, "all"} {
			i := newInstance(t, newTable(t), newClock().Now)
			first := signIn(t, i.Service)
			fault := func(call storetest.Call) error {
				if call.Op == failing || failing == "all" && (call.Op == storetest.Replace || late) {
					return errDown
				}
				return nil
			}
			if late {
				i.wire.After(fault)
			} else {
				i.wire.Before(fault)
			}
			before := i.wire.Count(storetest.Replace)
			_, err := refresh(i.Service, first.Refresh)
			if n := i.wire.Count(storetest.Replace) - before; n > 1 {
				t.Errorf("late %t, %s: %d attempts to write during an outage", late, failing, n)
			}
			if !late || failing != storetest.Replace {
				wantCode(t, err, oauth.TemporarilyUnavailable)
			}
			i.wire.Repair()
			if _, err := refresh(i.Service, first.Refresh); err != nil {
				t.Errorf("late %t, %s: %v", late, failing, err)
			}
		}
	}
}

func TestUnusedGrantExpires(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	token := signIn(t, i.Service).Refresh
	for range 3 { // each use extends it
		c.Advance(60 * 24 * time.Hour)
		next := mustRefresh(t, i.Service, token)
		token = next.Refresh
	}
	c.Advance(90 * 24 * time.Hour)
	_, err := refresh(i.Service, token)
	wantCode(t, err, oauth.InvalidGrant)
	h, err := i.openHandle(context.Background(), keyring.RefreshHandle, token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	_, err = i.Get(context.Background(), h.subjectID(), h.grantID())
	wantCode(t, err, oauth.InvalidToken)
	if list, err := i.List(context.Background(), h.subjectID()); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

func TestRefreshLifetimeCanBeSet(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	i.Service = New(Options{Table: i.wire, Ring: i.ring, Issuer: testIssuer, Resource: testResource, Renew: renewOfContext(renewOK), RefreshLifetime: 2 * time.Hour, Now: c.Now})
	token := signIn(t, i.Service).Refresh
	c.Advance(2*time.Hour - time.Second)
	next := mustRefresh(t, i.Service, token)
	c.Advance(2 * time.Hour)
	_, err := refresh(i.Service, next.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
}

// The clocks of two instances differ by up to 30 s.
func TestClockSkewDoesNotLogOut(t *testing.T) {
	c := newClock()
	table := newTable(t)
	ahead := newInstance(t, table, func() time.Time { return c.Now().Add(30 * time.Second) })
	behind := newInstance(t, table, c.Now)
	first := signIn(t, ahead.Service)
	mustVerify(t, behind.Service, first.Access) // iat is in the future there
	second := mustRefresh(t, ahead.Service, first.Refresh)
	retry, err := refresh(behind.Service, first.Refresh) // RotatedAt is in the future there
	if err != nil || generation(t, behind.Service, retry.Refresh) != 2 {
		t.Fatalf("retry on the instance behind: %v", err)
	}
	third := mustRefresh(t, behind.Service, second.Refresh)
	c.Advance(20 * time.Second)
	if _, err := refresh(ahead.Service, second.Refresh); err != nil {
		t.Errorf("retry on the instance ahead: %v", err)
	}
	c.Advance(9*time.Minute + 30*time.Second)
	mustVerify(t, ahead.Service, third.Access)
}

func TestParallelRefreshesShareOneRenewal(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	var renewals atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	renew := func(ctx context.Context, u Upstream, id Identity) (Renewal, error) {
		if renewals.Add(1) == 1 {
			close(entered)
		}
		<-release
		return renewOK(ctx, u, id)
	}
	results := make(chan error, 8)
	call := func() {
		tokens, err := i.Refresh(context.Background(), first.Refresh, testClient, nil, renew)
		if err == nil && generation(t, i.Service, tokens.Refresh) != 2 {
			err = errors.New("not generation 2")
		}
		results <- err
	}
	go call()
	<-entered
	for range 7 {
		go call()
	}
	close(release)
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	// One that came after the flight found the successor without asking.
	if n := renewals.Load(); n != 1 {
		t.Errorf("%d renewals", n)
	}
}

func TestRotationSurvivesClientThatHangsUp(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	ctx, hangUp := context.WithCancel(context.Background())
	gone := make(chan struct{})
	_, err := i.Refresh(ctx, first.Refresh, testClient, nil, func(ctx context.Context, u Upstream, id Identity) (Renewal, error) {
		hangUp()
		<-gone
		return renewOK(ctx, u, id)
	})
	close(gone)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if next, err := refresh(i.Service, first.Refresh); err != nil || generation(t, i.Service, next.Refresh) != 2 {
		t.Errorf("the retry: %v", err)
	}
}

func TestOnBehalfOfUpdateDuringRefreshCostsNothing(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	ctx := context.Background()
	second, err := i.Refresh(ctx, first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		g, err := i.Get(ctx, first.Grant.Subject, first.Grant.ID)
		if err != nil {
			t.Error(err)
		}
		if _, err := i.UpdateUpstream(ctx, g, Upstream{RefreshToken: entraRefresh("from-obo")}); err != nil {
			t.Error(err)
		}
		return Renewal{Upstream: Upstream{RefreshToken: entraRefresh("from-refresh")}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g := mustGet(t, i.Service, second.Grant.Subject, second.Grant.ID)
	if up, _ := i.Upstream(ctx, g); up.RefreshToken.Reveal() != "from-refresh" {
		t.Errorf("upstream token is %q", up.RefreshToken.Reveal())
	}
	// And the other way round: what was read before the rotation is stale.
	if _, err := i.UpdateUpstream(ctx, first.Grant, Upstream{RefreshToken: entraRefresh("stale")}); err != nil {
		t.Fatal(err)
	}
	g, _ = i.Get(ctx, second.Grant.Subject, second.Grant.ID)
	if up, _ := i.Upstream(ctx, g); up.RefreshToken.Reveal() != "from-refresh" {
		t.Errorf("a stale update won: %q", up.RefreshToken.Reveal())
	}
}
