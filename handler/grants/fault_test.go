package grants

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// nthFails has the nth call of a table alone fail, before it has an effect or after.
type nthFails struct {
	n                 int32
	calls             atomic.Int32
	readFailed, wrote atomic.Bool
}

func failNth(wire *storetest.Instrumented, n int32, late bool) *nthFails {
	f := &nthFails{n: n}
	fault := func(c storetest.Call) error {
		switch k := f.calls.Add(1); {
		case k == n:
			f.readFailed.Store(c.Reads() && !late)
			return errDown
		case k > n && f.readFailed.Load() && !c.Reads():
			f.wrote.Store(true)
		}
		return nil
	}
	if late {
		wire.After(fault)
	} else {
		wire.Before(fault)
	}
	return f
}

// happened tells whether there was an nth call.
func (f *nthFails) happened() bool { return f.calls.Load() >= f.n }

// wroteAfter tells whether something was written though it was a read that failed.
func (f *nthFails) wroteAfter() bool { return f.wrote.Load() }

// One call of the table fails and the others do not: wherever that is, the answer
// is a 503 and never a verdict, and the same request is answered as if nothing had
// been when it is repeated. If only the answer was lost, the request may also
// succeed.
func TestOneStorageFaultIsNoVerdictAndTheRequestCanBeRepeated(t *testing.T) {
	ctx := context.Background()
	parts := Parties{ClientID: testClient}
	const tenant = "33333333-3333-3333-3333-333333333333"
	for name, tt := range map[string]struct {
		set  func(i *instance, s *scene) // nil: the user is signed in
		run  func(i *instance, s *scene) error
		want oauth.Code // of the request without a fault
		dead bool       // the grant is, then
	}{
		"create": {run: func(i *instance, _ *scene) error { _, err := i.Create(ctx, testAuthorization()); return err }},
		"unredeemed": {run: func(i *instance, s *scene) error {
			is, err := i.Unredeemed(ctx, s.code)
			if err == nil && is {
				return errReused
			}
			return err
		}},
		"redeem": {
			set: func(i *instance, s *scene) { s.code = create(t, i.Service) },
			run: func(i *instance, s *scene) error { _, err := i.Redeem(ctx, s.code, testRedemption()); return err },
		},
		"redeem again": {run: func(i *instance, s *scene) error { _, err := i.Redeem(ctx, s.code, testRedemption()); return err }},
		"redeem again, late": {
			set:  func(i *instance, s *scene) { s.signIn(i); s.clock.Advance(RepeatWindow + time.Second) },
			run:  func(i *instance, s *scene) error { _, err := i.Redeem(ctx, s.code, testRedemption()); return err },
			want: oauth.InvalidGrant, dead: true,
		},
		"refresh": {run: func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err }},
		"refresh, over at Entra": {run: func(i *instance, s *scene) error {
			_, err := i.Refresh(ctx, s.first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, ErrSignInOver })
			return err
		}, want: oauth.InvalidGrant, dead: true},
		"refresh, late": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustRefresh(t, i.Service, s.first.Refresh)
				s.clock.Advance(DefaultRefreshGrace + time.Second)
			},
			run:  func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err },
			want: oauth.InvalidGrant, dead: true,
		},
		"refresh, blocked": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustBlock(t, i.Service, BlockClient, testClient, "")
			},
			run:  func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err },
			want: oauth.InvalidGrant, dead: true,
		},
		"refresh, revoked by half": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustAnnounce(t, i.Service, announcement{Subject: s.first.Grant.Subject, Grant: s.first.Grant.ID})
			},
			run:  func(i *instance, s *scene) error { _, err := refresh(i.Service, s.first.Refresh); return err },
			want: oauth.InvalidGrant, dead: true,
		},
		"verify": {run: func(i *instance, s *scene) error { _, err := i.Verify(ctx, s.first.Access.Reveal()); return err }},
		"verify, revoked": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				if err := i.Disconnect(ctx, s.first.Grant.Subject, s.first.Grant.ID); err != nil {
					t.Fatal(err)
				}
			},
			run:  func(i *instance, s *scene) error { _, err := i.Verify(ctx, s.first.Access.Reveal()); return err },
			want: oauth.InvalidToken, dead: true,
		},
		"revoke a refresh token": {run: func(i *instance, s *scene) error { return i.Revoke(ctx, s.first.Refresh.Reveal(), testClient) }, dead: true},
		"revoke an access token": {run: func(i *instance, s *scene) error { return i.Revoke(ctx, s.first.Access.Reveal(), testClient) }, dead: true},
		"revoke what is gone": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				if err := removeRow(s.table, s.first.Grant.Subject.partition(), s.first.Grant.ID); err != nil {
					t.Fatal(err)
				}
			},
			run:  func(i *instance, s *scene) error { return i.Revoke(ctx, s.first.Access.Reveal(), testClient) },
			dead: true,
		},
		"introspect a refresh token": {run: func(i *instance, s *scene) error { return s.introspect(i, s.first.Refresh.Reveal()) }},
		"introspect an access token": {run: func(i *instance, s *scene) error { return s.introspect(i, s.first.Access.Reveal()) }},
		"get": {run: func(i *instance, s *scene) error {
			_, err := i.Get(ctx, s.first.Grant.Subject, s.first.Grant.ID)
			return err
		}},
		"store Entra's tokens": {run: func(i *instance, s *scene) error {
			g, err := i.UpdateUpstream(ctx, s.first.Grant, Upstream{APIToken: entraAPI("new")})
			if err != nil {
				return err
			}
			up, err := i.Upstream(ctx, g)
			if err == nil && up.APIToken.Reveal() != "new" {
				return errLost
			}
			return err
		}},
		"list": {run: func(i *instance, s *scene) error {
			list, err := i.List(ctx, s.first.Grant.Subject)
			if err == nil && len(list) != 1 {
				return errNoGrant
			}
			return err
		}},
		"disconnect": {run: func(i *instance, s *scene) error { return i.Disconnect(ctx, s.first.Grant.Subject, s.first.Grant.ID) }, dead: true},
		"disconnect by an administrator": {run: func(i *instance, s *scene) error {
			return i.DisconnectForUser(ctx, s.first.Grant.Subject, s.first.Grant.ID)
		}, dead: true},
		"get, revoked by half": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustAnnounce(t, i.Service, announcement{Subject: s.first.Grant.Subject, Grant: s.first.Grant.ID})
			},
			run: func(i *instance, s *scene) error {
				if err := i.Ready(ctx); err != nil {
					return err
				}
				_, err := i.Get(ctx, s.first.Grant.Subject, s.first.Grant.ID)
				return err
			},
			want: oauth.InvalidToken, dead: true,
		},
		"ready in a new table": {
			set: func(_ *instance, s *scene) {
				if err := removeRow(s.table, BlockPartition, rolloutKey); err != nil {
					t.Fatal(err)
				}
			},
			run: func(i *instance, _ *scene) error { return i.Ready(ctx) },
		},
		"revoke in a new table": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				if err := removeRow(s.table, BlockPartition, rolloutKey); err != nil {
					t.Fatal(err)
				}
			},
			run:  func(i *instance, s *scene) error { return i.Revoke(ctx, s.first.Refresh.Reveal(), testClient) },
			dead: true,
		},
		"disconnect all": {run: func(i *instance, s *scene) error { _, err := i.DisconnectAll(ctx, s.first.Grant.Subject); return err }, dead: true},
		"erase":          {run: func(i *instance, s *scene) error { return i.Erase(ctx, s.first.Grant.Subject) }, dead: true},
		"scan": {run: func(i *instance, _ *scene) error {
			list, _, err := i.Scan(ctx, Filter{ClientID: testClient}, "")
			if err == nil && len(list) != 1 {
				return errNoGrant
			}
			return err
		}},
		"disconnect a page": {run: func(i *instance, _ *scene) error { _, _, err := i.DisconnectPage(ctx, Filter{}, ""); return err }, dead: true},
		"block":             {run: func(i *instance, _ *scene) error { return i.Block(ctx, BlockClient, testClient, "") }, dead: true},
		"block again": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustBlock(t, i.Service, BlockClient, testClient, "once")
			},
			run: func(i *instance, _ *scene) error {
				if err := i.Block(ctx, BlockClient, testClient, "twice"); err != nil {
					return err
				}
				list, err := i.Blocks(ctx)
				if err == nil && (len(list) != 1 || list[0].Reason != "twice") {
					return errLost
				}
				return err
			},
			dead: true,
		},
		"unblock": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustBlock(t, i.Service, BlockClient, testClient, "")
			},
			run: func(i *instance, _ *scene) error {
				if err := i.Unblock(ctx, BlockClient, testClient); err != nil {
					return err
				}
				b, err := i.Blocked(ctx, parts)
				if err == nil && b != nil {
					return errLost
				}
				return err
			},
		},
		"sign everyone out": {run: func(i *instance, s *scene) error { return i.SignOutEveryone(ctx, s.clock.Now(), "") }, dead: true},
		"blocks":            {run: func(i *instance, _ *scene) error { _, err := i.Blocks(ctx); return err }},
		"blocked":           {run: func(i *instance, _ *scene) error { _, err := i.Blocked(ctx, parts); return err }},
		"allow a tenant": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				if err := i.DenyTenant(ctx, tenant, ""); err != nil {
					t.Fatal(err)
				}
			},
			run: func(i *instance, _ *scene) error {
				if err := i.Ready(ctx); err != nil {
					return err
				}
				if err := i.AllowTenant(ctx, tenant, ""); err != nil {
					return err
				}
				is, err := i.TenantAllowed(ctx, tenant)
				if err == nil && !is {
					return errLost
				}
				return err
			},
		},
		"deny a tenant": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				if err := i.AllowTenant(ctx, testIdentity.TenantID, ""); err != nil {
					t.Fatal(err)
				}
			},
			run:  func(i *instance, _ *scene) error { return i.DenyTenant(ctx, testIdentity.TenantID, "") },
			dead: true,
		},
		"tenants":        {run: func(i *instance, _ *scene) error { _, err := i.Tenants(ctx); return err }},
		"tenant allowed": {run: func(i *instance, _ *scene) error { _, err := i.TenantAllowed(ctx, tenant); return err }},
		"retire a key": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustRetire(t, i)
			},
			run:  func(i *instance, _ *scene) error { return i.AnnounceKeyChange(ctx) },
			dead: true,
		},
		"complete revocations": {
			set: func(i *instance, s *scene) {
				s.signIn(i)
				mustAnnounce(t, i.Service, announcement{Subject: s.first.Grant.Subject, Grant: s.first.Grant.ID})
			},
			run: func(i *instance, s *scene) error {
				return i.CompleteRevocations(ctx, storetest.Rows(t, s.table, store.Prefix(RevocationPrefix)))
			},
			dead: true,
		},
		"ready": {run: func(i *instance, _ *scene) error { return i.Ready(ctx) }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				for n := int32(1); ; n++ {
					s := &scene{clock: newClock(), table: newTable(t)}
					first := newInstance(t, s.table, s.clock.Now)
					if tt.set == nil {
						s.signIn(first)
					} else {
						tt.set(first, s)
					}
					i := newInstance(t, s.table, s.clock.Now)
					fault := failNth(i.wire, n, late)
					err := tt.run(i, s)
					i.wire.Repair()
					if fault.wroteAfter() {
						t.Errorf("call %d, which reads, fails, and something is written", n)
					}
					if fault.happened() && !(late && codeOf(err) == tt.want) {
						if codeOf(err) != oauth.TemporarilyUnavailable {
							t.Fatalf("call %d fails (late: %t): %v", n, late, err)
						}
						err = tt.run(i, s)
					}
					if codeOf(err) != tt.want {
						t.Fatalf("call %d failed (late: %t), and then: %v", n, late, err)
					}
					if tt.dead {
						_, err := refresh(i.Service, s.first.Refresh)
						wantCode(t, err, oauth.InvalidGrant)
					}
					if !fault.happened() {
						break
					}
				}
			}
		})
	}
}

// signIn signs the user in.
func (s *scene) signIn(i *instance) {
	var err error
	if s.code, err = i.Create(context.Background(), testAuthorization()); err == nil {
		s.first, err = i.Redeem(context.Background(), s.code, testRedemption())
	}
	if err != nil {
		panic(err)
	}
}

func (s *scene) introspect(i *instance, token string) error {
	answer, err := i.Introspect(context.Background(), token, testClient)
	if err == nil && !answer.Active {
		return errRevoked
	}
	return err
}

// codeOf is empty for success.
func codeOf(err error) oauth.Code {
	if err == nil {
		return ""
	}
	return oauth.ErrorCode(err)
}
