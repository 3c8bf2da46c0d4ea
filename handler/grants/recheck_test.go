package grants

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

const recheckEvery = time.Hour

// recheckWorld is two instances whose access tokens live for a day.
type recheckWorld struct {
	a, b   *instance
	tokens Tokens
	asked  atomic.Int32
	// entra is what Entra says; nil confirms.
	entra func() (Renewal, error)
}

// recheckTest runs f under a clock of its own.
func recheckTest(t *testing.T, f func(t *testing.T, w *recheckWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		table := newTable(t)
		w := &recheckWorld{a: newInstance(t, table, time.Now), b: newInstance(t, table, time.Now)}
		for _, i := range []*instance{w.a, w.b} {
			i.accessLifetime, i.recheck = 24*time.Hour, recheckEvery
			i.renew = renewOfContext(func(ctx context.Context, up Upstream, id Identity) (Renewal, error) {
				w.asked.Add(1)
				time.Sleep(300 * time.Millisecond)
				if w.entra != nil {
					return w.entra()
				}
				return renewOK(ctx, up, id)
			})
		}
		w.tokens = signIn(t, w.a.Service)
		f(t, w)
		time.Sleep(time.Minute) // until all has ended
	})
}

func (w *recheckWorld) call(i *instance) error {
	_, err := i.Verify(context.Background(), w.tokens.Access.Reveal())
	return err
}

func (w *recheckWorld) wantServed(t *testing.T, i *instance) {
	t.Helper()
	if err := w.call(i); err != nil {
		t.Fatal(err)
	}
}

func TestRecheckAsksOnceAnIntervalAndInstanceTogetherAndInTheBackground(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		time.Sleep(recheckEvery - time.Second)
		w.wantServed(t, w.a)
		if n := w.asked.Load(); n != 0 {
			t.Fatalf("asked %d times within the interval", n)
		}
		for hour := range int32(5) {
			time.Sleep(2 * time.Second)
			begun := time.Now()
			for range 20 {
				w.wantServed(t, w.a)
				w.wantServed(t, w.b)
			}
			if waited := time.Since(begun); waited > 100*time.Millisecond {
				t.Errorf("calls waited %s for Entra", waited)
			}
			time.Sleep(recheckRetry + time.Second)
			w.wantServed(t, w.a)
			w.wantServed(t, w.b)
			time.Sleep(time.Second)
			if n := w.asked.Load(); n != hour+1 {
				t.Errorf("after %d intervals asked %d times", hour+1, n)
			}
			time.Sleep(recheckEvery)
		}
		g, err := w.a.Get(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
		if err != nil {
			t.Fatal(err)
		}
		if up, err := w.a.Upstream(context.Background(), g); err != nil || up.RefreshToken.Reveal() != "entra-rt-n" {
			t.Errorf("Entra's new token was not kept: %v", err)
		}
		if tokens, err := refresh(w.b.Service, w.tokens.Refresh); err != nil || generation(t, w.b.Service, tokens.Refresh) != 2 {
			t.Errorf("the client's own refresh: %v", err)
		}
	})
}

func TestDisabledUserIsOutAfterOneIntervalOnEveryInstance(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		w.wantServed(t, w.b)
		w.entra = func() (Renewal, error) { return Renewal{}, ErrSignInOver }
		time.Sleep(recheckEvery + time.Second)
		w.wantServed(t, w.a) // starts it
		time.Sleep(time.Second)
		wantCode(t, w.call(w.a), oauth.InvalidToken)
		time.Sleep(MaxStale)
		wantCode(t, w.call(w.b), oauth.InvalidToken)
		_, err := refresh(w.b.Service, w.tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
	})
}

func TestChangedRolesRevokeOlderAccessTokensAndTheSignInGoesOn(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		now := testIdentity
		now.Roles = []string{"Writer"}
		w.entra = func() (Renewal, error) { return Renewal{Identity: &now}, nil }
		time.Sleep(recheckEvery + time.Second)
		w.wantServed(t, w.a)
		time.Sleep(2*MaxStale + time.Second)
		for _, i := range []*instance{w.a, w.b} {
			wantCode(t, w.call(i), oauth.InvalidToken)
		}
		next, err := refresh(w.b.Service, w.tokens.Refresh)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []*instance{w.a, w.b} {
			if access := mustVerify(t, i.Service, next.Access); !slices.Equal(access.Roles, []string{"Writer"}) {
				t.Errorf("roles %v", access.Roles)
			}
		}
		if _, err := w.a.Get(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID); err != nil {
			t.Error(err)
		}
	})
}

// An outage of Entra is tolerated for two more intervals; then a call waits for a
// verdict, and without one it is a 503.
func TestOutageOfEntraIsToleratedForTwoMoreIntervals(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		w.entra = func() (Renewal, error) { return Renewal{}, errors.New("no answer") }
		for range 2 {
			time.Sleep(recheckEvery + time.Second)
			w.wantServed(t, w.a)
			time.Sleep(time.Minute)
		}
		time.Sleep(recheckEvery)
		wantCode(t, w.call(w.a), oauth.TemporarilyUnavailable)
		asked := w.asked.Load()
		wantCode(t, w.call(w.a), oauth.TemporarilyUnavailable)
		if n := w.asked.Load(); n != asked {
			t.Error("every call asks Entra during an outage")
		}
		w.entra = nil
		time.Sleep(recheckClaim + recheckRetry)
		w.wantServed(t, w.a)
		w.wantServed(t, w.b)
		if _, err := refresh(w.b.Service, w.tokens.Refresh); err != nil {
			t.Errorf("the outage ended the sign-in: %v", err)
		}
	})
}

// A client that comes back after hours is served only after the verdict, whichever
// instance it calls.
func TestOverdueCallWaitsForTheVerdict(t *testing.T) {
	over := func(*recheckWorld) (Renewal, error) { return Renewal{}, ErrSignInOver }
	for name, tt := range map[string]struct {
		entra func(*recheckWorld) (Renewal, error) // nil confirms
		want  oauth.Code                           // empty: the call is served
	}{
		"the sign-in holds":   {},
		"the sign-in is over": {over, oauth.InvalidToken},
		"the sign-in is over, and the grant cannot be read": {func(w *recheckWorld) (Renewal, error) {
			for _, i := range []*instance{w.a, w.b} {
				i.wire.Before(storetest.Fail(errDown, storetest.Get).In(GrantPrefix))
			}
			return over(w)
		}, oauth.TemporarilyUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			recheckTest(t, func(t *testing.T, w *recheckWorld) {
				if tt.entra != nil {
					w.entra = func() (Renewal, error) { return tt.entra(w) }
				}
				time.Sleep(overdueAfter*recheckEvery + time.Second)
				answers := make(chan error, 8)
				for n := range 8 {
					go func() { answers <- w.call([]*instance{w.a, w.b}[n%2]) }()
				}
				for range 8 {
					err := <-answers
					if tt.want != "" {
						wantCode(t, err, tt.want)
					} else if err != nil {
						t.Error(err)
					}
				}
				if n := w.asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// A refusal that was overtaken by a rotation ends nothing: the rotation was told
// something newer.
func TestRefusalAtRecheckThatWasOvertakenEndsNothing(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		w.entra = func() (Renewal, error) {
			if _, err := refresh(w.b.Service, w.tokens.Refresh); err != nil {
				t.Error(err)
			}
			return Renewal{}, ErrSignInOver
		}
		time.Sleep(recheckEvery + time.Second)
		w.wantServed(t, w.a)
		time.Sleep(time.Minute)
		w.wantServed(t, w.a)
		w.wantServed(t, w.b)
	})
}

func TestRecheckNeverTakesAnotherUser(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		other := testIdentity
		other.ObjectID = "33333333-3333-3333-3333-333333333333"
		w.entra = func() (Renewal, error) { return Renewal{Identity: &other}, nil }
		time.Sleep(recheckEvery + time.Second)
		w.wantServed(t, w.a)
		time.Sleep(time.Minute)
		g, err := w.a.Get(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
		if err != nil || g.Identity.ObjectID != testIdentity.ObjectID {
			t.Errorf("%v, %v", g.Identity, err)
		}
	})
}
