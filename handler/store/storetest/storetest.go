// Package storetest proves the contract of store.Table, sentence by sentence,
// for any implementation, and starts the Azurite that tests run against.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"entramcp/handler/store"
)

// Run proves the contract. open returns an empty table that no other call of
// open shares, and closes it when its test ends.
func Run(t *testing.T, open func(t *testing.T) store.Table) {
	for _, part := range []struct {
		name string
		test func(t *testing.T, table store.Table)
	}{
		{"Rows", testRows},
		{"ETags", testETags},
		{"Values", testValues},
		{"Expires", testExpires},
		{"Limits", testLimits},
		{"Drop", testDrop},
		{"ListOrder", testListOrder},
		{"ListSpans", testListSpans},
		{"ListPages", testListPages},
		{"ListExpired", testListExpired},
		{"ListExpiredPages", testListExpiredPages},
		{"ListArguments", testListArguments},
		{"RacingInserts", testRacingInserts},
		{"RacingReplaces", testRacingReplaces},
		{"RacingDeletes", testRacingDeletes},
		{"RacingReplacesAndDeletes", testRacingReplacesAndDeletes},
		{"RacingIncrements", testRacingIncrements},
		{"CancelledContext", testCancelledContext},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

var sentinels = []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid}

// wantError checks for one sentinel and against all others. With a nil want it
// checks for an error of unknown outcome, which is none of them.
func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %v", what, want)
		return
	}
	for _, s := range sentinels {
		if got := errors.Is(err, s); got != errors.Is(want, s) {
			t.Errorf("%s: error %q is %v: %t", what, err, s, got)
		}
	}
}

// MustInsert inserts row and returns its ETag; an error ends the test.
func MustInsert(t testing.TB, table store.Table, row store.Row) store.ETag {
	t.Helper()
	etag, err := table.Insert(t.Context(), row)
	if err != nil {
		t.Fatalf("insert %s/%s: %v", row.Partition, row.Key, err)
	}
	return etag
}

// MustReplace replaces row and returns its new ETag; an error ends the test.
func MustReplace(t testing.TB, table store.Table, row store.Row) store.ETag {
	t.Helper()
	etag, err := table.Replace(t.Context(), row)
	if err != nil {
		t.Fatalf("replace %s/%s: %v", row.Partition, row.Key, err)
	}
	return etag
}

// MustGet reads a row; an error ends the test.
func MustGet(t testing.TB, table store.Table, partition, key string) store.Row {
	t.Helper()
	row, err := table.Get(t.Context(), partition, key)
	if err != nil {
		t.Fatalf("get %s/%s: %v", partition, key, err)
	}
	return row
}

func wantGone(t *testing.T, table store.Table, partition, key string) {
	t.Helper()
	_, err := table.Get(t.Context(), partition, key)
	wantError(t, "get "+partition+"/"+key, err, store.ErrNotFound)
}

func wantSame(t *testing.T, got, want store.Row) {
	t.Helper()
	if got.Partition != want.Partition || got.Key != want.Key {
		t.Errorf("row %s/%s, want %s/%s", got.Partition, got.Key, want.Partition, want.Key)
	}
	if got.ETag != want.ETag {
		t.Errorf("%s/%s: ETag %q, want %q", got.Partition, got.Key, got.ETag, want.ETag)
	}
	if !got.Expires.Equal(want.Expires) || got.Expires.Location() != time.UTC {
		t.Errorf("%s/%s: Expires %v, want %v in UTC", got.Partition, got.Key, got.Expires, want.Expires)
	}
	if string(got.Value) != string(want.Value) {
		t.Errorf("%s/%s: a value of %d bytes came back as %d others", got.Partition, got.Key, len(want.Value), len(got.Value))
	}
}

func testCancelledContext(t *testing.T, table store.Table) {
	row := store.Row{Partition: "p", Key: "k", Value: []byte("one")}
	row.ETag = MustInsert(t, table, row)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := table.Insert(ctx, store.Row{Partition: "p", Key: "other"})
	wantError(t, "insert", err, nil)
	_, err = table.Get(ctx, "p", "k")
	wantError(t, "get", err, nil)
	_, err = table.Replace(ctx, store.Row{Partition: "p", Key: "k", ETag: row.ETag, Value: []byte("two")})
	wantError(t, "replace", err, nil)
	wantError(t, "delete", table.Delete(ctx, "p", "k", row.ETag), nil)
	_, err = table.Drop(ctx, []store.Row{row})
	wantError(t, "drop", err, nil)
	_, err = table.List(ctx, store.Partition("p"), "")
	wantError(t, "list", err, nil)
	_, err = table.ListExpired(ctx, time.Unix(2e9, 0), "")
	wantError(t, "list what has expired", err, nil)

	wantSame(t, MustGet(t, table, "p", "k"), row)
	wantGone(t, table, "p", "other")
}
