package entra

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"
)

// keptSignIn is a sign-in that is kept in memory.
type keptSignIn struct {
	mu         sync.Mutex
	id         string
	held       Assertion
	renewals   int
	challenges []string
	foreign    error // what Renewed answers
}

func (k *keptSignIn) ID() string { return k.id }

func (k *keptSignIn) Tokens(context.Context) (Assertion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held, nil
}

func (k *keptSignIn) Renewed(_ context.Context, s SignIn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewals++
	k.held = Assertion{AccessToken: s.AccessToken, Expires: s.AccessTokenExpires, RefreshToken: s.RefreshToken}
	return k.foreign
}

func (k *keptSignIn) Challenged(_ context.Context, claims string) {
	k.challenges = append(k.challenges, claims)
}

func (e *tenant) signedIn() *keptSignIn {
	return &keptSignIn{id: "grant-1", held: Assertion{AccessToken: "user-token", Expires: e.clock.Now().Add(time.Hour), RefreshToken: "refresh-1"}}
}

func (e *tenant) tokenRequests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests)
}

func mustToken(t *testing.T, o *OnBehalfOf, user SignedIn, scopes ...string) APIToken {
	t.Helper()
	token, err := o.Token(context.Background(), user, scopes...)
	if err != nil || token.IsZero() {
		t.Fatalf("no token: %v", err)
	}
	return token
}

func TestTokensForOtherAPIsAreKeptUntilShortlyBeforeTheirEnd(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	for _, step := range []struct {
		name     string
		do       func()
		scopes   []string
		requests int
	}{
		{"first", func() {}, []string{"a/x", "a/y"}, 1},
		{"again, in another order", func() {}, []string{"a/y", "a/x"}, 1},
		{"another scope", func() {}, []string{"a/x"}, 2},
		{"another user", func() { user.id = "grant-2" }, []string{"a/x"}, 3},
		{"the first user again", func() { user.id = "grant-1" }, []string{"a/x"}, 3},
		{"shortly before its end", func() { e.clock.advance(time.Hour - early); user.held.Expires = e.clock.Now().Add(time.Hour) }, []string{"a/x"}, 4},
	} {
		step.do()
		mustToken(t, o, user, step.scopes...)
		if n := e.tokenRequests(); n != step.requests {
			t.Errorf("%s: %d requests so far, want %d", step.name, n, step.requests)
		}
	}
}

func TestATokenThatTheAPIRefusedIsNotUsedAgain(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	first := mustToken(t, o, user, "a/x")
	o.Refused(user, APIToken{}, "a/x")
	mustToken(t, o, user, "a/x")
	if n := e.tokenRequests(); n != 1 {
		t.Errorf("the refusal of another token evicted this one: %d requests", n)
	}
	o.Refused(user, first, "a/x")
	mustToken(t, o, user, "a/x")
	if n := e.tokenRequests(); n != 2 {
		t.Errorf("%d requests after the token was refused, want 2", n)
	}
}

func TestCallsThatCoincideExchangeAndRenewOnce(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	user.held.AccessToken = ""
	release := make(chan struct{})
	counted := e.respondAfter(release)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() { mustToken(t, o, user, []string{"a/x", "b/x"}[i%2]) })
	}
	for counted.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the other callers arrive
	close(release)
	callers.Wait()
	if n := counted.Load(); n != 3 || user.renewals != 1 {
		t.Errorf("%d requests and %d renewals, want 3 and 1", n, user.renewals)
	}
}

func TestACallerThatGivesUpDoesNotEndTheExchangeOfOthers(t *testing.T) {
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	release := make(chan struct{})
	counted := e.respondAfter(release)
	impatient, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() { _, err := o.Token(impatient, user, "a/x"); gaveUp <- err }()
	for counted.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient caller got %v", err)
	}
	close(release)
	mustToken(t, o, user, "a/x")
	if n := counted.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAnAssertionPastItsTimeIsRenewedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*tenant, *keptSignIn)
		renewals int
		kind     Kind // empty: a token
	}{
		"still good":            {func(*tenant, *keptSignIn) {}, 0, ""},
		"about to end":          {func(e *tenant, k *keptSignIn) { k.held.Expires = e.clock.Now().Add(early) }, 1, ""},
		"none":                  {func(_ *tenant, k *keptSignIn) { k.held.AccessToken = "" }, 1, ""},
		"past by Entra's clock": {func(e *tenant, _ *keptSignIn) { e.refuseFirst("invalid_grant", assertionExpired) }, 1, ""},
		"cannot be renewed": {func(e *tenant, k *keptSignIn) {
			k.held.RefreshToken = ""
			e.refuseFirst("invalid_grant", assertionExpired)
		}, 0, SignInOver},
		"nothing to present": {func(_ *tenant, k *keptSignIn) { k.held = Assertion{} }, 0, SignInOver},
		"another user's tokens": {func(e *tenant, k *keptSignIn) {
			k.held.AccessToken, k.foreign = "", errors.New("another user's")
		}, 1, Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			o, user := NewOnBehalfOf(e.client()), e.signedIn()
			test.change(e, user)
			token, err := o.Token(context.Background(), user, "a/x")
			if test.kind == "" && (err != nil || token.IsZero()) {
				t.Errorf("no token: %v", err)
			}
			if test.kind != "" && (err == nil || AsFailure(err).Kind != test.kind) {
				t.Errorf("got %v, want %s", err, test.kind)
			}
			if user.renewals != test.renewals {
				t.Errorf("%d renewals, want %d", user.renewals, test.renewals)
			}
		})
	}
}

func TestAClaimsChallengeIsKeptForTheNextSignIn(t *testing.T) {
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	e := newTenant(t)
	o, user := NewOnBehalfOf(e.client()), e.signedIn()
	e.set(func() {
		e.respond = func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, "interaction_required", 50076, map[string]any{"claims": challenge})
		}
	})
	if _, err := o.Token(context.Background(), user, "a/x"); err == nil || len(user.challenges) != 1 || user.challenges[0] != challenge {
		t.Errorf("kept %v, error %v", user.challenges, err)
	}
}
