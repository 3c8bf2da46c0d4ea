package grants

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func newAzuriteTable(tb testing.TB) store.Table {
	tb.Helper()
	table := storetest.AzureTable(tb)
	endRollout(tb, table)
	return table
}

// onBothStores runs a race of 32 against two instances that share a table.
func onBothStores(t *testing.T, race func(t *testing.T, a, b *instance, c *clock)) {
	for name, table := range map[string]func(testing.TB) store.Table{"embedded": newTable, "azurite": newAzuriteTable} {
		t.Run(name, func(t *testing.T) {
			shared, c := table(t), newClock()
			race(t, newInstance(t, shared, c.Now), newInstance(t, shared, c.Now), c)
		})
	}
}

const racers = 32

// parallel calls f once per racer, alternating between the instances, and lets
// them all go at once.
func parallel(a, b *instance, f func(*instance) error) []error {
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, racers)
	for n := range racers {
		wg.Go(func() {
			<-start
			errs[n] = f([]*instance{a, b}[n%2])
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func TestParallelRedemptionsRedeemOnce(t *testing.T) {
	onBothStores(t, func(t *testing.T, a, b *instance, _ *clock) {
		mustBeCurrent(t, a)
		mustBeCurrent(t, b)
		code := create(t, a.Service)
		var mu sync.Mutex
		generations := map[uint64]int{}
		for _, err := range parallel(a, b, func(i *instance) error {
			tokens, err := i.Redeem(context.Background(), code, testRedemption())
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				generations[generation(t, i.Service, tokens.Refresh)]++
			}
			return err
		}) {
			if err != nil {
				t.Errorf("a racer was refused: %v", err)
			}
		}
		if generations[1] != racers {
			t.Errorf("handles by generation: %v, want all of generation 1", generations)
		}
	})
}

func TestParallelRefreshesGiveOneSuccessorAndNoLogout(t *testing.T) {
	onBothStores(t, func(t *testing.T, a, b *instance, _ *clock) {
		first := signIn(t, a.Service)
		var mu sync.Mutex
		var all []Tokens
		for _, err := range parallel(a, b, func(i *instance) error {
			tokens, err := refresh(i.Service, first.Refresh)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, tokens)
			return err
		}) {
			if err != nil {
				t.Errorf("a racer was refused: %v", err)
			}
		}
		if t.Failed() {
			return
		}
		for _, tokens := range all {
			if g := generation(t, a.Service, tokens.Refresh); g != 2 {
				t.Errorf("generation %d, want 2", g)
			}
			mustVerify(t, b.Service, tokens.Access)
		}
		if _, err := refresh(b.Service, all[racers-1].Refresh); err != nil {
			t.Errorf("logged out: %v", err)
		}
	})
}

func TestRevocationWinsAgainstParallelRefreshes(t *testing.T) {
	onBothStores(t, func(t *testing.T, a, b *instance, c *clock) {
		first := signIn(t, a.Service)
		var n atomic.Int32
		var mu sync.Mutex
		all := []Tokens{first}
		for _, err := range parallel(a, b, func(i *instance) error {
			if n.Add(1)%8 == 0 {
				if err := i.Revoke(context.Background(), first.Access.Reveal(), testClient); err != nil {
					t.Errorf("revocation: %v", err)
				}
				return nil
			}
			tokens, err := refresh(i.Service, first.Refresh)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, tokens)
			}
			return err
		}) {
			if err != nil {
				wantCode(t, err, oauth.InvalidGrant)
			}
		}
		c.Advance(MaxStale + time.Second)
		for _, tokens := range all {
			_, err := refresh(a.Service, tokens.Refresh)
			wantCode(t, err, oauth.InvalidGrant)
			_, err = b.Verify(context.Background(), tokens.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
		}
	})
}
