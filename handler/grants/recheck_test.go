package grants

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
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
		g := mustGet(t, w.a.Service, w.tokens.Grant.Subject, w.tokens.Grant.ID)
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
		// What is announced of some of its tokens does not end the grant, whatever else
		// becomes of the row.
		if err := w.b.CompleteRevocations(context.Background(), storetest.Rows(t, w.b.wire.Table, store.Prefix(RevocationPrefix))); err != nil {
			t.Fatal(err)
		}
		next := mustRefresh(t, w.b.Service, w.tokens.Refresh)
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

// An access token of a newer key may belong to a grant that an older one has sealed.
// When that is retired, there is nothing left to ask Entra with: the recheck ends the
// grant for good, on every instance, as a refresh would.
func TestRecheckEndsAGrantThatARetiredKeySealed(t *testing.T) {
	for name, tt := range map[string]struct {
		after time.Duration
		first oauth.Code // of the call that starts the recheck
	}{
		"in the background":  {recheckEvery, ""},
		"while a call waits": {overdueAfter * recheckEvery, oauth.InvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			recheckTest(t, func(t *testing.T, w *recheckWorld) {
				first := w.tokens.Refresh
				if err := w.a.ring.Rotate(context.Background()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(keyring.PublishBefore - time.Second)
				if _, err := refresh(w.a.Service, first); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				var err error
				if w.tokens, err = refresh(w.a.Service, first); err != nil { // in grace: signed with the new key
					t.Fatal(err)
				}
				if err := w.a.ring.Retire(context.Background(), 1); err != nil {
					t.Fatal(err)
				}
				if err := w.a.AnnounceKeyChange(context.Background()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(MaxStale + time.Second)
				w.wantServed(t, w.a)
				w.wantServed(t, w.b)
				asked := w.asked.Load()
				time.Sleep(tt.after)
				if err := w.call(w.a); codeOf(err) != tt.first {
					t.Errorf("the call that starts it: %v", err)
				}
				time.Sleep(time.Second)
				wantCode(t, w.call(w.a), oauth.InvalidToken)
				time.Sleep(MaxStale)
				wantCode(t, w.call(w.b), oauth.InvalidToken)
				wantReason(t, w.b, w.tokens, "sign-in is over")
				if n := w.asked.Load(); n != asked {
					t.Error("Entra was asked")
				}
			})
		})
	}
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
		reads, writes := w.a.wire.Counts()
		wantCode(t, w.call(w.a), oauth.TemporarilyUnavailable)
		if n := w.asked.Load(); n != asked {
			t.Error("every call asks Entra during an outage")
		}
		if r, wr := w.a.wire.Counts(); r != reads || wr != writes {
			t.Error("every call asks the table during an outage")
		}
		if !strings.Contains(w.a.log.String(), `cause="no answer"`) {
			t.Errorf("the outage is not logged: %s", w.a.log)
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

// What Entra has said to one instance, at a recheck or at a refresh, need not be
// asked by another.
func TestConfirmationIsEnoughForEveryInstance(t *testing.T) {
	for name, confirm := range map[string]func(t *testing.T, w *recheckWorld){
		"a recheck": func(t *testing.T, w *recheckWorld) { w.wantServed(t, w.a) },
		"a refresh": func(t *testing.T, w *recheckWorld) {
			w.asked.Add(1)
			if _, err := refresh(w.a.Service, w.tokens.Refresh); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			recheckTest(t, func(t *testing.T, w *recheckWorld) {
				time.Sleep(recheckEvery + time.Second)
				confirm(t, w)
				time.Sleep(recheckEvery / 2)
				for range 2 {
					w.wantServed(t, w.b)
					time.Sleep(recheckRetry + time.Second)
				}
				if n := w.asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// Who waits for the verdict gives up with its caller, and after a moment where
// another instance is asking. Neither is served.
func TestCallThatCannotWaitForTheVerdictIsNotServed(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		w.entra = func() (Renewal, error) {
			time.Sleep(20 * time.Second)
			return renewOK(context.Background(), Upstream{}, Identity{})
		}
		time.Sleep(overdueAfter*recheckEvery + time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.a.Verify(ctx, w.tokens.Access.Reveal())
		wantCode(t, err, oauth.TemporarilyUnavailable)
		begun := time.Now()
		wantCode(t, w.call(w.b), oauth.TemporarilyUnavailable)
		if waited := time.Since(begun); waited > 2*pollWait {
			t.Errorf("waited %s for another instance", waited)
		}
		time.Sleep(30 * time.Second)
		w.wantServed(t, w.a)
		w.wantServed(t, w.b)
		if n := w.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// What happens to the grant while Entra is asked: its verdict is stored, unless a
// rotation has brought a newer one or the grant has ended.
func TestVerdictIsStoredWhateverHappensToTheRow(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(w *recheckWorld) error
		token     string // of Entra's, in the end
		want      oauth.Code
	}{
		"nothing": {func(*recheckWorld) error { return nil }, "confirmed", ""},
		"tokens are updated": {func(w *recheckWorld) error {
			g, err := w.b.Get(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
			if err == nil {
				_, err = w.b.UpdateUpstream(context.Background(), g, Upstream{RefreshToken: entraRefresh("updated")})
			}
			return err
		}, "confirmed", ""},
		"a rotation": {func(w *recheckWorld) error { _, err := refresh(w.b.Service, w.tokens.Refresh); return err }, "entra-rt-n", ""},
		"a revocation": {func(w *recheckWorld) error {
			return w.b.Disconnect(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
		}, "", oauth.InvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			recheckTest(t, func(t *testing.T, w *recheckWorld) {
				w.entra = func() (Renewal, error) {
					if err := tt.meanwhile(w); err != nil {
						t.Error(err)
					}
					return Renewal{Upstream: Upstream{RefreshToken: entraRefresh("confirmed")}}, nil
				}
				time.Sleep(overdueAfter*recheckEvery + time.Second)
				if err := w.call(w.a); codeOf(err) != tt.want {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				confirmed := time.Now()
				if tt.want != "" {
					return
				}
				r, err := w.a.read(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
				if err != nil || confirmed.Sub(r.Confirmed) > time.Second || !r.Asking.IsZero() {
					t.Errorf("confirmed at %s, asking since %s, %v", r.Confirmed, r.Asking, err)
				}
				if user, err := w.a.unseal(context.Background(), r); err != nil || user.Upstream.RefreshToken.Reveal() != tt.token {
					t.Errorf("Entra's token: %v", err)
				}
				w.wantServed(t, w.a)
				w.wantServed(t, w.b)
				if n := w.asked.Load(); n != 1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// As in TestOneStorageFaultIsNoVerdictAndTheRequestCanBeRepeated: a call that waits
// for the verdict is not served when it cannot be had or kept.
func TestOneStorageFaultDuringARecheckIsNoVerdict(t *testing.T) {
	changed := testIdentity
	changed.Roles = []string{"Writer"}
	for name, tt := range map[string]struct {
		entra      func() (Renewal, error)
		want, then oauth.Code // of this call without a fault, and of the next
	}{
		"the sign-in holds":   {nil, "", ""},
		"the sign-in is over": {func() (Renewal, error) { return Renewal{}, ErrSignInOver }, oauth.InvalidToken, oauth.InvalidToken},
		"other roles":         {func() (Renewal, error) { return Renewal{Identity: &changed}, nil }, "", oauth.InvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				for n, faults := int32(1), true; faults; n++ {
					recheckTest(t, func(t *testing.T, w *recheckWorld) {
						w.entra = tt.entra
						time.Sleep(overdueAfter*recheckEvery + time.Second)
						mustBeCurrent(t, w.a)
						fault := failNth(w.a.wire, n, late)
						err := w.call(w.a)
						w.a.wire.Repair()
						if fault.wroteAfter() {
							t.Errorf("call %d, which reads, fails, and something is written", n)
						}
						if faults = fault.happened(); faults && codeOf(err) != oauth.TemporarilyUnavailable && !(late && codeOf(err) == tt.want) {
							t.Errorf("call %d fails (late: %t): %v", n, late, err)
						}
						time.Sleep(recheckClaim + recheckRetry)
						_ = w.call(w.a)
						time.Sleep(MaxStale)
						if err := w.call(w.a); codeOf(err) != tt.then {
							t.Errorf("call %d failed (late: %t), and then: %v", n, late, err)
						}
					})
				}
			}
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

// A refusal that was overtaken by something that says nothing of the sign-in, such as
// tokens that a tool has renewed, is no verdict: a call that waits for one is not
// served, and Entra is asked again.
func TestRefusalAtRecheckThatNoNewerVerdictOvertookIsAskedForAgain(t *testing.T) {
	recheckTest(t, func(t *testing.T, w *recheckWorld) {
		w.entra = func() (Renewal, error) {
			if w.asked.Load() > 1 {
				return Renewal{}, ErrSignInOver
			}
			g, err := w.b.Get(context.Background(), w.tokens.Grant.Subject, w.tokens.Grant.ID)
			if err == nil {
				_, err = w.b.UpdateUpstream(context.Background(), g, Upstream{RefreshToken: entraRefresh("updated")})
			}
			if err != nil {
				t.Error(err)
			}
			return Renewal{}, ErrSignInOver
		}
		time.Sleep(overdueAfter*recheckEvery + time.Second)
		for _, i := range []*instance{w.a, w.b} {
			wantCode(t, w.call(i), oauth.TemporarilyUnavailable)
		}
		time.Sleep(recheckClaim + recheckRetry)
		wantCode(t, w.call(w.a), oauth.InvalidToken)
		time.Sleep(MaxStale)
		wantCode(t, w.call(w.b), oauth.InvalidToken)
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
