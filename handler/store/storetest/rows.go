package storetest

import (
	"bytes"
	"testing"
	"time"

	"entramcp/handler/store"
)

func testRows(t *testing.T, table store.Table) {
	ctx := t.Context()
	wantGone(t, table, "p", "k")
	_, err := table.Replace(ctx, store.Row{Partition: "p", Key: "k", ETag: someETag(t, table)})
	wantError(t, "replace a row that never was", err, store.ErrNotFound)
	wantError(t, "delete a row that never was", table.Delete(ctx, "p", "k", someETag(t, table)), store.ErrNotFound)

	first := store.Row{Partition: "p", Key: "k", Value: []byte("first"), Expires: time.Unix(1_900_000_000, 0)}
	first.ETag = MustInsert(t, table, first)
	wantSame(t, MustGet(t, table, "p", "k"), first)
	_, err = table.Insert(ctx, store.Row{Partition: "p", Key: "k", Value: []byte("another")})
	wantError(t, "insert over a row", err, store.ErrExists)
	wantSame(t, MustGet(t, table, "p", "k"), first)

	sibling := store.Row{Partition: "q", Key: "k", Value: []byte("same key, other partition")}
	sibling.ETag = MustInsert(t, table, sibling)

	second := store.Row{Partition: "p", Key: "k", ETag: first.ETag, Value: []byte("second")}
	second.ETag = MustReplace(t, table, second)
	wantSame(t, MustGet(t, table, "p", "k"), second)

	_, err = table.Replace(ctx, first)
	wantError(t, "replace with a stale ETag", err, store.ErrConflict)
	wantError(t, "delete with a stale ETag", table.Delete(ctx, "p", "k", first.ETag), store.ErrConflict)
	wantSame(t, MustGet(t, table, "p", "k"), second)

	if err := table.Delete(ctx, "p", "k", second.ETag); err != nil {
		t.Fatalf("delete: %v", err)
	}
	wantGone(t, table, "p", "k")
	_, err = table.Replace(ctx, second)
	wantError(t, "replace a deleted row", err, store.ErrNotFound)
	wantError(t, "delete a deleted row", table.Delete(ctx, "p", "k", second.ETag), store.ErrNotFound)
	wantSame(t, MustGet(t, table, "q", "k"), sibling)
}

// someETag is one that the table has really given out, for another row.
func someETag(t *testing.T, table store.Table) store.ETag {
	t.Helper()
	etag := MustInsert(t, table, store.Row{Partition: "etag", Key: "k"})
	if err := table.Delete(t.Context(), "etag", "k", etag); err != nil {
		t.Fatal(err)
	}
	return etag
}

func testETags(t *testing.T, table store.Table) {
	row := store.Row{Partition: "p", Key: "k", Value: []byte("always the same")}
	row.ETag = MustInsert(t, table, row)
	seen := map[store.ETag]bool{row.ETag: true}
	for range 20 {
		row.ETag = MustReplace(t, table, row)
		if seen[row.ETag] {
			t.Fatalf("ETag %q came back", row.ETag)
		}
		seen[row.ETag] = true
	}
	last := row.ETag
	if err := table.Delete(t.Context(), "p", "k", last); err != nil {
		t.Fatal(err)
	}
	row.ETag = MustInsert(t, table, row)
	if seen[row.ETag] {
		t.Fatalf("ETag %q came back with a new row of the same key", row.ETag)
	}
	wantError(t, "delete with the ETag of a former row", table.Delete(t.Context(), "p", "k", last), store.ErrConflict)
	wantSame(t, MustGet(t, table, "p", "k"), row)
}

func testValues(t *testing.T, table store.Table) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for key, value := range map[string][]byte{
		"none":    nil,
		"empty":   {},
		"every":   every,
		"quotes":  []byte(`'"\'';--`),
		"largest": bytes.Repeat([]byte{0xff, 0x00}, store.MaxValue/2),
	} {
		row := store.Row{Partition: "values", Key: key, Value: bytes.Clone(value)}
		row.ETag = MustInsert(t, table, row)
		clear(row.Value)
		row.Value = value
		got := MustGet(t, table, "values", key)
		wantSame(t, got, row)
		clear(got.Value)
		wantSame(t, MustGet(t, table, "values", key), row)
	}
}

func testExpires(t *testing.T, table store.Table) {
	for key, expires := range map[string]time.Time{
		"never":   {},
		"first":   time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC),
		"epoch":   time.Unix(0, 0),
		"past":    time.Unix(1_000_000_000, 0),
		"last":    time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"by-zone": time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 5*3600)),
	} {
		row := store.Row{Partition: "expires", Key: key, Expires: expires}
		row.ETag = MustInsert(t, table, row)
		// A row whose time is over is still there: expiry is for sweeping.
		wantSame(t, MustGet(t, table, "expires", key), row)
	}
	row := MustGet(t, table, "expires", "past")
	row.Expires = time.Time{}
	row.ETag = MustReplace(t, table, row)
	wantSame(t, MustGet(t, table, "expires", "past"), row)
}

func testDrop(t *testing.T, table store.Table) {
	drop := func(what string, want int, rows ...store.Row) {
		t.Helper()
		if n, err := table.Drop(t.Context(), rows); err != nil || n != want {
			t.Errorf("drop %s: %d removed, want %d, %v", what, n, want, err)
		}
	}
	drop("nothing", 0)
	many(t, table, "p", store.MaxDrop+2)
	rows, _ := list(t, table, store.Partition("p"), nil)
	other := store.Row{Partition: "q", Key: rows[0].Key}
	other.ETag = MustInsert(t, table, other)

	drop("as many as may be", store.MaxDrop, rows[:store.MaxDrop]...)
	for _, row := range rows[:store.MaxDrop] {
		wantGone(t, table, "p", row.Key)
	}
	wantSame(t, MustGet(t, table, "q", other.Key), other)

	left := rows[store.MaxDrop:]
	absent := store.Row{Partition: "p", Key: "absent", ETag: left[0].ETag}
	drop("rows of two partitions, absent, gone and repeated ones", 2, absent, left[0], rows[0], left[0], other)
	wantGone(t, table, "p", left[0].Key)
	wantGone(t, table, "q", other.Key)
	wantSame(t, MustGet(t, table, "p", left[1].Key), left[1])
	drop("only an absent row", 0, absent)

	// A row that was used since it was listed stays, and does not keep
	// the others of its batch.
	many(t, table, "used", 5)
	rows, _ = list(t, table, store.Partition("used"), nil)
	used := rows[2]
	used.Value = []byte("used")
	used.ETag = MustReplace(t, table, used)
	drop("rows of which one has changed", 4, rows...)
	remaining, _ := list(t, table, store.Partition("used"), nil)
	if len(remaining) != 1 {
		t.Fatalf("%d rows remain", len(remaining))
	}
	wantSame(t, remaining[0], used)
	drop("the row that has changed", 0, rows[2])
	wantSame(t, MustGet(t, table, "used", used.Key), used)
}
