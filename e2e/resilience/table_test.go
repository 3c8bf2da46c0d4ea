package resilience

import (
	"testing"

	"entramcp/e2e/stack"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/storetest"
)

// tableOf is the table that the instances of s share, past all that a test has
// put in between.
func tableOf(t *testing.T, s *stack.Stack) store.Table {
	t.Helper()
	table, err := azuretable.New(azuretable.Options{
		ConnectionString: azuretable.ConnectionString{Value: secret.New(storetest.Azurite(t))}, Name: s.Table(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// rows are those in the stack's table whose partition begins with prefix.
func rows(t *testing.T, s *stack.Stack, prefix string) []store.Row {
	t.Helper()
	return storetest.Rows(t, tableOf(t, s), store.Prefix(prefix))
}
