package keyring_test

import (
	"sync"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store/storetest"
)

// The races of creation and rotation again, where they are lost and won in
// Table Storage itself.
func TestInstancesShareOneRingInTableStorage(t *testing.T) {
	table := storetest.AzureTable(t)
	c := clocktest.New()
	instances := make([]*keyring.Ring, 6)
	for i := range instances {
		instances[i] = newRing(t, table, masterKey(t, keyA), c)
	}
	all := func(do func(*keyring.Ring) error) {
		var group sync.WaitGroup
		for _, r := range instances {
			group.Go(func() {
				if err := do(r); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	load := func(r *keyring.Ring) error { return r.Load(t.Context()) }
	all(load)
	first := seal(t, instances[0], keyring.RefreshHandle, "", "first")
	all(func(r *keyring.Ring) error { return r.Rotate(t.Context()) })
	c.Advance(time.Hour)
	all(load) // gives the first epoch its end
	if list := rows(t, table); len(list) != 2 || list[0].Expires.IsZero() || !list[1].Expires.IsZero() {
		t.Fatalf("epochs: %v", list)
	}
	second := seal(t, instances[1], keyring.RefreshHandle, "", "second")
	changed := newRing(t, table, masterKey(t, keyB, keyA), c)
	if n, err := changed.Rewrap(t.Context()); n != 2 || err != nil {
		t.Fatalf("%d epochs were wrapped again, want 2: %v", n, err)
	}
	for _, r := range append(instances, newRing(t, table, masterKey(t, keyB), c)) {
		opens(t, r, keyring.RefreshHandle, "", first, "first")
		opens(t, r, keyring.RefreshHandle, "", second, "second")
	}
}
