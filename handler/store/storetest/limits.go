package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/store"
)

const keyBytes = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"

func testLimits(t *testing.T, table store.Table) {
	t.Run("Largest", func(t *testing.T) { testLargest(t, table) })
	t.Run("Keys", func(t *testing.T) { testBadKeys(t, table) })
	t.Run("Rows", func(t *testing.T) { testBadRows(t, table) })
	t.Run("ETags", func(t *testing.T) { testBadETags(t, table) })

	page, err := table.List(t.Context(), store.Prefix(""), "")
	if err != nil || len(page.Rows) > 0 {
		t.Errorf("after refused writes the table holds %d rows (%v)", len(page.Rows), err)
	}
}

func testLargest(t *testing.T, table store.Table) {
	longest := strings.Repeat("~", store.MaxKey)
	row := store.Row{Partition: longest, Key: longest, Value: make([]byte, store.MaxValue)}
	row.ETag = MustInsert(t, table, row)
	wantSame(t, MustGet(t, table, longest, longest), row)
	row.ETag = MustReplace(t, table, row)
	wantSame(t, MustGet(t, table, longest, longest), row)
	wantNames(t, table, store.Prefix(longest), longest+"/"+longest)
	if err := table.Delete(t.Context(), longest, longest, row.ETag); err != nil {
		t.Error(err)
	}
	row = store.Row{Partition: keyBytes, Key: keyBytes}
	row.ETag = MustInsert(t, table, row)
	wantSame(t, MustGet(t, table, keyBytes, keyBytes), row)
	wantNames(t, table, store.Partition(keyBytes), keyBytes+"/"+keyBytes)
	if n, err := table.Drop(t.Context(), []store.Row{row}); err != nil || n != 1 {
		t.Error(n, err)
	}
	wantGone(t, table, keyBytes, keyBytes)
}

func testBadKeys(t *testing.T, table store.Table) {
	ctx, etag := t.Context(), someETag(t, table)
	bad := []string{"", strings.Repeat("k", store.MaxKey+1), "é", "a/b", "it's"}
	for b := range 256 {
		if one := string([]byte{byte(b)}); !strings.Contains(keyBytes, one) {
			bad = append(bad, "k"+one)
		}
	}
	for _, key := range bad {
		for _, at := range [][2]string{{key, "k"}, {"p", key}} {
			partition, key := at[0], at[1]
			_, err := table.Insert(ctx, store.Row{Partition: partition, Key: key})
			wantError(t, "insert", err, store.ErrInvalid)
			_, err = table.Get(ctx, partition, key)
			wantError(t, "get", err, store.ErrInvalid)
			_, err = table.Replace(ctx, store.Row{Partition: partition, Key: key, ETag: etag})
			wantError(t, "replace", err, store.ErrInvalid)
			wantError(t, "delete", table.Delete(ctx, partition, key, etag), store.ErrInvalid)
			_, err = table.Drop(ctx, []store.Row{{Partition: partition, Key: key, ETag: etag}})
			wantError(t, "drop", err, store.ErrInvalid)
		}
	}
	tooMany := slices.Repeat([]store.Row{{Partition: "p", Key: "k", ETag: etag}}, store.MaxDrop+1)
	_, err := table.Drop(ctx, tooMany)
	wantError(t, "drop too many", err, store.ErrInvalid)
}

func testBadRows(t *testing.T, table store.Table) {
	kept := store.Row{Partition: "p", Key: "kept", Value: []byte("kept")}
	kept.ETag = MustInsert(t, table, kept)
	for name, row := range map[string]store.Row{
		"value one byte too long":     {Value: make([]byte, store.MaxValue+1)},
		"Expires with a nanosecond":   {Expires: time.Unix(1_900_000_000, 1)},
		"Expires with half a second":  {Expires: time.Unix(1_900_000_000, 500_000_000)},
		"Expires in the year 1600":    {Expires: time.Date(1600, 12, 31, 23, 59, 59, 0, time.UTC)},
		"Expires in the year 10000":   {Expires: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"Expires that is nearly zero": {Expires: time.Time{}.Add(time.Hour)},
	} {
		row.Partition, row.Key = "p", "k"
		_, err := table.Insert(t.Context(), row)
		wantError(t, "insert: "+name, err, store.ErrInvalid)
		row.Key, row.ETag = "kept", kept.ETag
		_, err = table.Replace(t.Context(), row)
		wantError(t, "replace: "+name, err, store.ErrInvalid)
	}
	wantSame(t, MustGet(t, table, "p", "kept"), kept)
	if err := table.Delete(t.Context(), "p", "kept", kept.ETag); err != nil {
		t.Error(err)
	}
}

// An empty ETag, and "*", would be an unconditional write in Azure.
func testBadETags(t *testing.T, table store.Table) {
	kept := store.Row{Partition: "p", Key: "kept", Value: []byte("kept")}
	kept.ETag = MustInsert(t, table, kept)
	for _, etag := range []store.ETag{"", "*"} {
		_, err := table.Replace(t.Context(), store.Row{Partition: "p", Key: "kept", ETag: etag})
		wantError(t, "replace", err, store.ErrInvalid)
		wantError(t, "delete", table.Delete(t.Context(), "p", "kept", etag), store.ErrInvalid)
		_, err = table.Drop(t.Context(), []store.Row{{Partition: "p", Key: "kept", ETag: etag}})
		wantError(t, "drop", err, store.ErrInvalid)
	}
	wantSame(t, MustGet(t, table, "p", "kept"), kept)
	if err := table.Delete(t.Context(), "p", "kept", kept.ETag); err != nil {
		t.Error(err)
	}
}
