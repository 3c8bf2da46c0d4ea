package grants

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// dieAfter lets n writes through and then behaves like a dead process: nothing
// reaches the table any more, and the caller never hears of the last write.
func dieAfter(table *storetest.Instrumented, n int) {
	var done atomic.Int32
	table.Before(func(storetest.Call) error {
		if int(done.Load()) >= n {
			return errDown
		}
		return nil
	})
	table.After(func(call storetest.Call) error {
		if !call.Op.Reads() {
			done.Add(1)
		}
		if int(done.Load()) >= n {
			return errLate
		}
		return nil
	})
}

// scene is what a flow starts from and what its survivor is asked about.
type scene struct {
	clock *clock
	table store.Table
	code  Code
	first Tokens // of the same grant, if the code was redeemed
	next  Tokens // after one rotation, if there was one
}

// Each flow is killed after every number of its storage writes. Another
// instance then has to find it either retryable or cleanly refused, and no token
// of a grant that was being revoked may outlive the bound.
func TestDeathBetweenAnyTwoWrites(t *testing.T) {
	ctx := context.Background()
	over := func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, ErrSignInOver }
	flows := []struct {
		name   string
		writes int
		set    func(*instance, *scene)
		run    func(*instance, *scene) error
		check  func(t *testing.T, died int, survivor *instance, s *scene)
	}{
		{
			name: "create", writes: 1,
			set: func(*instance, *scene) {},
			run: func(i *instance, _ *scene) error { _, err := i.Create(ctx, testAuthorization()); return err },
			check: func(t *testing.T, _ int, survivor *instance, _ *scene) {
				subject := SubjectOf(testIdentity.TenantID, testIdentity.ObjectID)
				if list, err := survivor.List(ctx, subject); err != nil || len(list) != 0 {
					t.Errorf("half a sign-in is listed: %v, %v", list, err)
				}
				signIn(t, survivor.Service)
			},
		},
		{
			name: "redeem", writes: 1,
			set: func(i *instance, s *scene) { s.code = create(t, i.Service) },
			run: func(i *instance, s *scene) error { _, err := i.Redeem(ctx, s.code, testRedemption()); return err },
			check: func(t *testing.T, died int, survivor *instance, s *scene) {
				_, err := survivor.Redeem(ctx, s.code, testRedemption())
				if err != nil {
					t.Errorf("not retryable after %d writes: %v", died, err)
				}
			},
		},
		{
			name: "refresh", writes: 1,
			set: func(i *instance, s *scene) { s.first = signIn(t, i.Service) },
			run: func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err },
			check: func(t *testing.T, _ int, survivor *instance, s *scene) {
				tokens, err := refresh(survivor.Service, s.first.Refresh)
				if err != nil || generation(t, survivor.Service, tokens.Refresh) != 2 {
					t.Fatalf("not retryable: %v", err)
				}
				mustVerify(t, survivor.Service, tokens.Access)
			},
		},
		{
			name: "upstream update", writes: 1,
			set: func(i *instance, s *scene) { s.first = signIn(t, i.Service) },
			run: func(i *instance, s *scene) error {
				_, err := i.UpdateUpstream(ctx, s.first.Grant, Upstream{RefreshToken: entraRefresh("new")})
				return err
			},
			check: func(t *testing.T, _ int, survivor *instance, s *scene) {
				if _, err := refresh(survivor.Service, s.first.Refresh); err != nil {
					t.Error(err)
				}
			},
		},
		{
			name: "code replay", writes: 2,
			set: func(i *instance, s *scene) {
				s.code = create(t, i.Service)
				s.first = mustRedeem(t, i.Service, s.code)
				s.clock.Advance(RepeatWindow + time.Second)
			},
			run: func(i *instance, s *scene) error { _, err := i.Redeem(ctx, s.code, testRedemption()); return err },
			check: func(t *testing.T, died int, survivor *instance, s *scene) {
				if died == 0 {
					_, err := survivor.Redeem(ctx, s.code, testRedemption())
					wantCode(t, err, oauth.InvalidGrant)
				}
				wantDead(t, survivor, s, s.first)
			},
		},
		{
			name: "refresh reuse", writes: 2,
			set: func(i *instance, s *scene) {
				s.first = signIn(t, i.Service)
				s.next = mustRefresh(t, i.Service, s.first.Refresh)
				s.clock.Advance(2 * DefaultRefreshGrace)
			},
			run: func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err },
			check: func(t *testing.T, died int, survivor *instance, s *scene) {
				if died == 0 {
					_, err := refresh(survivor.Service, s.first.Refresh)
					wantCode(t, err, oauth.InvalidGrant)
				}
				wantDead(t, survivor, s, s.next)
			},
		},
		{
			name: "upstream sign-in over", writes: 2,
			set: func(i *instance, s *scene) { s.first = signIn(t, i.Service) },
			run: func(i *instance, s *scene) error {
				_, err := i.Refresh(ctx, s.first.Refresh, testClient, nil, over)
				return err
			},
			check: func(t *testing.T, _ int, survivor *instance, s *scene) {
				_, err := survivor.Refresh(ctx, s.first.Refresh, testClient, nil, over)
				wantCode(t, err, oauth.InvalidGrant)
				wantDead(t, survivor, s, s.first)
			},
		},
		{
			name: "revocation", writes: 2,
			set: func(i *instance, s *scene) { s.first = signIn(t, i.Service) },
			run: func(i *instance, s *scene) error { return i.Revoke(ctx, s.first.Access.Reveal(), testClient) },
			check: func(t *testing.T, _ int, survivor *instance, s *scene) {
				if err := survivor.Revoke(ctx, s.first.Access.Reveal(), testClient); err != nil {
					t.Fatalf("not retryable: %v", err)
				}
				wantDead(t, survivor, s, s.first)
			},
		},
	}
	for _, flow := range flows {
		for died := 0; died <= flow.writes; died++ {
			t.Run(fmt.Sprintf("%s after %d of %d", flow.name, died, flow.writes), func(t *testing.T) {
				s := &scene{clock: newClock(), table: newTable(t)}
				victim := newInstance(t, s.table, s.clock.Now)
				flow.set(victim, s)
				mustBeCurrent(t, victim)
				_, before := victim.wire.Counts()
				if died == flow.writes {
					_ = flow.run(victim, s) // every write, and the answer is lost
					if _, after := victim.wire.Counts(); after-before != flow.writes {
						t.Fatalf("the flow makes %d writes, not %d", after-before, flow.writes)
					}
				} else {
					dieAfter(victim.wire, died)
					wantCode(t, flow.run(victim, s), oauth.TemporarilyUnavailable)
				}
				flow.check(t, died, newInstance(t, s.table, s.clock.Now), s)
			})
		}
	}
}

// wantDead: at the latest MaxStale after the survivor has polled, nothing of the
// grant is worth anything, and that is for good.
func wantDead(t *testing.T, survivor *instance, s *scene, tokens Tokens) {
	t.Helper()
	s.clock.Advance(MaxStale)
	survivor.poll(context.Background())
	_, err := survivor.Verify(context.Background(), tokens.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	s.clock.Advance(2 * time.Hour)
	sweeper := newInstance(t, s.table, s.clock.Now)
	sweepExpired(t, sweeper)
	if rows := revocationRows(t, sweeper); rows != 0 {
		t.Fatalf("%d rows of revocations are left", rows)
	}
	_, err = refresh(newInstance(t, s.table, s.clock.Now).Service, tokens.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
}
