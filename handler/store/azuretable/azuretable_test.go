package azuretable_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/storetest"
)

var tables atomic.Int32

func freshName() string { return fmt.Sprintf("test%d", tables.Add(1)) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Table { return open(t, freshName()) })
}

func open(t *testing.T, name string) *azuretable.Table {
	t.Helper()
	table, err := azuretable.New(azuretable.Options{
		ConnectionString: connection(storetest.Azurite(t)),
		Name:             name,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.CreateIfMissing(t.Context()); err != nil {
		t.Fatal(err)
	}
	return table
}

func connection(text string) azuretable.ConnectionString {
	return azuretable.ConnectionString{Value: secret.New(text)}
}
