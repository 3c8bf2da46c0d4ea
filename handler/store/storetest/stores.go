package storetest

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
)

// Dir is an empty directory for an embedded store, until the test ends. It is in
// memory where Linux has a place for that: the store syncs every write, and for
// most tests the disk is all that they wait for.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "store-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Embedded returns an empty embedded store, closed when the test ends.
func Embedded(tb testing.TB) *embedded.Table {
	tb.Helper()
	table, err := embedded.Open(Dir(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = table.Close() })
	return table
}

var azureTables atomic.Int32

// AzureTable returns an empty table of the shared Azurite that nobody else has. In
// a short run it skips the test: there, that Table Storage keeps the contract that
// the embedded store keeps is left to the tests of azuretable.
func AzureTable(tb testing.TB) *azuretable.Table {
	tb.Helper()
	if testing.Short() {
		tb.Skip("Azurite is for make test")
	}
	table, err := azuretable.New(azuretable.Options{
		ConnectionString: azuretable.ConnectionString{Value: secret.New(Azurite(tb))},
		Name:             fmt.Sprintf("table%d", azureTables.Add(1)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := table.CreateIfMissing(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return table
}

// OnBothStores runs test on an empty table of each kind.
func OnBothStores(t *testing.T, test func(t *testing.T, table store.Table)) {
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("azuretable", func(t *testing.T) { test(t, AzureTable(t)) })
}
