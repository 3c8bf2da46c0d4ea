package keyvault

import (
	"strings"
	"testing"

	"entramcp/handler/keyring"
	hide "entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func newRing(t *testing.T, table store.Table, w keyring.Wrapper) *keyring.Ring {
	t.Helper()
	return keyring.New(keyring.Options{Table: table, Wrapper: w})
}

func TestRingMovesFromMasterKeyToKeyVault(t *testing.T) {
	table := storetest.Embedded(t)
	v := newVault(t)
	master, err := keyring.NewMasterKey(keyring.MasterKey{Value: hide.New("correct horse battery staple, and then some more of it")})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := newRing(t, table, master).Seal(t.Context(), keyring.RefreshHandle, nil, []byte("h"))
	if err != nil {
		t.Fatal(err)
	}
	vault := newKey(t, v, goodURL)
	if err := newRing(t, table, vault).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "set MASTER_KEY") {
		t.Errorf("without the old key: %v", err)
	}
	if n, err := newRing(t, table, keyring.Migrating(vault, master)).Rewrap(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d epochs were wrapped again: %v", n, err)
	}
	v.addVersion(version2) // Key Vault rotates its key
	if got, err := newRing(t, table, vault).Open(t.Context(), keyring.RefreshHandle, nil, sealed); err != nil || string(got) != "h" {
		t.Errorf("with Key Vault alone: %q, %v", got, err)
	}
	if err := newRing(t, table, master).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "set KEY_VAULT_KEY_URL") {
		t.Errorf("with the old key alone: %v", err)
	}
}

// The right to wrap without the right to unwrap would be noticed only when
// the next instance starts.
func TestRingIsNotStartedWithAKeyThatOnlyWraps(t *testing.T) {
	table := storetest.Embedded(t)
	v := newVault(t)
	v.fail = func(_ int, operation string) (int, string, string, string) {
		if operation == "unwrapkey" {
			return 403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource."
		}
		return 0, "", "", ""
	}
	r := newRing(t, table, newKey(t, v, goodURL))
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "Key Vault Crypto User") {
		t.Errorf("got %v, want the missing role", err)
	}
	page, err := table.List(t.Context(), store.Partition(keyring.Partition), "")
	if err != nil || len(page.Rows) != 0 {
		t.Errorf("%d epochs were left behind, %v", len(page.Rows), err)
	}
}
