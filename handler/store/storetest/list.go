package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"entramcp/handler/store"
)

// many inserts n rows into partition and returns their keys in order.
func many(t *testing.T, table store.Table, partition string, n int) []string {
	t.Helper()
	return manyExpiring(t, table, partition, n, time.Time{})
}

func manyExpiring(t *testing.T, table store.Table, partition string, n int, expires time.Time) []string {
	t.Helper()
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%05d", i)
	}
	var writers sync.WaitGroup
	for part := range slices.Chunk(keys, max(1, n/8)) {
		writers.Go(func() {
			for _, key := range part {
				if _, err := table.Insert(t.Context(), store.Row{Partition: partition, Key: key, Expires: expires}); err != nil {
					t.Errorf("insert %s/%s: %v", partition, key, err)
				}
			}
		})
	}
	writers.Wait()
	return keys
}

// list follows a listing to its end and calls between after every page.
func list(t *testing.T, table store.Table, span store.Span, between func(store.Page)) (rows []store.Row, pages int) {
	t.Helper()
	return follow(t, func(from store.Cursor) (store.Page, error) { return table.List(t.Context(), span, from) }, between)
}

func follow(t *testing.T, list func(store.Cursor) (store.Page, error), between func(store.Page)) (rows []store.Row, pages int) {
	t.Helper()
	var from store.Cursor
	for {
		page, err := list(from)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if len(page.Rows) > store.MaxPage {
			t.Errorf("page of %d rows, at most %d", len(page.Rows), store.MaxPage)
		}
		rows = append(rows, page.Rows...)
		if pages++; pages > 1000 {
			t.Fatal("a listing without end")
		}
		if page.Next == "" {
			return rows, pages
		}
		from = page.Next
		if between != nil {
			between(page)
		}
	}
}

// Rows are the rows of span.
func Rows(tb testing.TB, table store.Table, span store.Span) (rows []store.Row) {
	tb.Helper()
	for row, err := range store.Rows(context.Background(), table, span) {
		if err != nil {
			tb.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func names(rows []store.Row) []string {
	out := []string{}
	for _, row := range rows {
		out = append(out, row.Partition+"/"+row.Key)
	}
	return out
}

func wantNames(t *testing.T, table store.Table, span store.Span, want ...string) {
	t.Helper()
	rows, _ := list(t, table, span, nil)
	if got := names(rows); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("list %.40s to %.40s, from key %q:\n got %v\nwant %v", span.First, span.Last, span.FirstKey, got, want)
	}
}

func testListOrder(t *testing.T, table store.Table) {
	inOrder := []string{"-", ".", "0", "A", "A-", "Z", "_", "a", "a-", "a.b", "aa", "b", "~", "~~"}
	shuffled := slices.Clone(inOrder)
	slices.Reverse(shuffled)
	written := map[string]store.Row{}
	for _, partition := range shuffled {
		for _, key := range shuffled {
			row := store.Row{Partition: partition, Key: key, Value: []byte(partition + key), Expires: time.Unix(2e9, 0)}
			row.ETag = MustInsert(t, table, row)
			written[partition+"/"+key] = row
		}
	}
	var want []string
	for _, partition := range inOrder {
		for _, key := range inOrder {
			want = append(want, partition+"/"+key)
		}
	}
	rows, _ := list(t, table, store.Prefix(""), nil)
	if got := names(rows); !slices.Equal(got, want) {
		t.Errorf("order\n got %v\nwant %v", got, want)
	}
	for _, row := range rows {
		wantSame(t, row, written[row.Partition+"/"+row.Key])
	}
}

func testListSpans(t *testing.T, table store.Table) {
	wantNames(t, table, store.Prefix(""))
	for _, partition := range []string{"f", "g", "g-", "g-1", "g-1-x", "g-2", "g-~", "g-~~z", "g.", "h"} {
		MustInsert(t, table, store.Row{Partition: partition, Key: "k"})
	}
	wantNames(t, table, store.Partition("g-1"), "g-1/k")
	wantNames(t, table, store.Partition("absent"))
	wantNames(t, table, store.Span{First: "g-1", Last: "g-2"}, "g-1/k", "g-1-x/k", "g-2/k")
	wantNames(t, table, store.Span{First: "g-0", Last: "g-1"}, "g-1/k")
	wantNames(t, table, store.Span{Last: "g"}, "f/k", "g/k")
	wantNames(t, table, store.Span{First: "g.", Last: "zzz"}, "g./k", "h/k")
	wantNames(t, table, store.Prefix("g-"), "g-/k", "g-1/k", "g-1-x/k", "g-2/k", "g-~/k", "g-~~z/k")
	wantNames(t, table, store.Prefix("absent"))

	for _, key := range []string{"b", "a", "ab"} {
		MustInsert(t, table, store.Row{Partition: "g-1", Key: key})
	}
	wantNames(t, table, store.Span{First: "g-1", Last: "g-1", FirstKey: "ab"}, "g-1/ab", "g-1/b", "g-1/k")
	wantNames(t, table, store.Span{First: "g-1", Last: "g-1", FirstKey: "aa"}, "g-1/ab", "g-1/b", "g-1/k")
	wantNames(t, table, store.Span{First: "g-1", Last: "g-1", FirstKey: "l"})
}

func testListPages(t *testing.T, table store.Table) {
	n := store.MaxPage + 30
	keys := many(t, table, "p", n)
	MustInsert(t, table, store.Row{Partition: "o", Key: "k"})
	MustInsert(t, table, store.Row{Partition: "q", Key: "k"})
	var want []string
	for _, key := range keys {
		want = append(want, "p/"+key)
	}
	rows, pages := list(t, table, store.Partition("p"), nil)
	if got := names(rows); !slices.Equal(got, want) {
		t.Errorf("%d rows in pages, want %d", len(got), n)
	}
	if pages < 2 {
		t.Errorf("%d rows in %d pages", n, pages)
	}

	// Who drops what a page showed, and writes meanwhile, as a sweep and its
	// surroundings do, still sees every other row once.
	rows, _ = list(t, table, store.Partition("p"), func(page store.Page) {
		for batch := range slices.Chunk(page.Rows, store.MaxDrop) {
			if n, err := table.Drop(t.Context(), batch); err != nil || n != len(batch) {
				t.Fatalf("drop %d rows of a listing: %d, %v", len(batch), n, err)
			}
		}
		many(t, table, "p", 10)
	})
	if got := names(rows); !slices.Equal(got, want) {
		t.Errorf("%d rows while others were dropped, want %d", len(got), n)
	}
}

// wantExpired compares without regard to the order, which is the store's.
func wantExpired(t *testing.T, table store.Table, before time.Time, want ...string) {
	t.Helper()
	rows, _ := follow(t, func(from store.Cursor) (store.Page, error) { return table.ListExpired(t.Context(), before, from) }, nil)
	for _, row := range rows[:min(len(rows), 10)] {
		wantSame(t, MustGet(t, table, row.Partition, row.Key), row)
	}
	got := names(rows)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("expired before %v:\n got %v\nwant %v", before, got, want)
	}
}

func testListExpired(t *testing.T, table store.Table) {
	// Times on both sides of the epoch and of powers of ten: the order of
	// their digits would not do.
	seconds := []int64{-5_000_000_000, -1, 0, 5, 40, 999_999_999, 1_000_000_000, 1_900_000_000, 10_000_000_000}
	for i, s := range seconds {
		MustInsert(t, table, store.Row{Partition: fmt.Sprintf("p-%d", i), Key: "k", Expires: time.Unix(s, 0), Value: []byte{byte(i)}})
	}
	MustInsert(t, table, store.Row{Partition: "p-never", Key: "k"})
	for i, s := range seconds {
		var before []string
		for j := range i {
			before = append(before, fmt.Sprintf("p-%d/k", j))
		}
		upTo := append(slices.Clone(before), fmt.Sprintf("p-%d/k", i))
		wantExpired(t, table, time.Unix(s, 0), before...)
		wantExpired(t, table, time.Unix(s, 1), upTo...)
		wantExpired(t, table, time.Unix(s+1, 0).In(time.FixedZone("", -8*3600)), upTo...)
	}
	change := func(partition string, expires time.Time) {
		row := MustGet(t, table, partition, "k")
		row.Expires = expires
		MustReplace(t, table, row)
	}
	wantExpired(t, table, time.Unix(6, 0), "p-0/k", "p-1/k", "p-2/k", "p-3/k")
	change("p-0", time.Time{})
	change("p-1", time.Unix(6, 0))
	change("p-2", time.Unix(5, 0))
	change("p-5", time.Unix(-7, 0))
	change("p-3", time.Unix(5, 0)) // as it was
	wantExpired(t, table, time.Unix(6, 0), "p-2/k", "p-3/k", "p-5/k")
	row := MustGet(t, table, "p-2", "k")
	if err := table.Delete(t.Context(), row.Partition, row.Key, row.ETag); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Drop(t.Context(), []store.Row{MustGet(t, table, "p-3", "k")}); err != nil {
		t.Fatal(err)
	}
	wantExpired(t, table, time.Unix(6, 0), "p-5/k")
	MustInsert(t, table, store.Row{Partition: "p-2", Key: "k", Expires: time.Unix(1, 0)})
	wantExpired(t, table, time.Unix(6, 0), "p-2/k", "p-5/k")
}

func testListExpiredPages(t *testing.T, table store.Table) {
	var keys []string
	for i, partition := range []string{"p", "q"} {
		for _, key := range manyExpiring(t, table, partition, store.MaxPage/2+15, time.Unix(1000-int64(i), 0)) {
			keys = append(keys, partition+"/"+key)
		}
	}
	wantExpired(t, table, time.Unix(1001, 0), keys...)
	// As the sweep does.
	seen := 0
	_, pages := follow(t, func(from store.Cursor) (store.Page, error) {
		page, err := table.ListExpired(t.Context(), time.Unix(1001, 0), from)
		for batch := range slices.Chunk(page.Rows, store.MaxDrop) {
			n, err := table.Drop(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			seen += n
		}
		return page, err
	}, nil)
	if seen != len(keys) || pages < 2 {
		t.Errorf("dropped %d rows of %d in %d pages", seen, len(keys), pages)
	}
	wantExpired(t, table, time.Unix(1001, 0))
}

func testListArguments(t *testing.T, table store.Table) {
	MustInsert(t, table, store.Row{Partition: "p", Key: "k"})
	for name, span := range map[string]store.Span{
		"no bounds":          {},
		"no last partition":  {First: "p"},
		"bounds exchanged":   {First: "q", Last: "p"},
		"a quote in First":   {First: "p' or PartitionKey gt '", Last: "q"},
		"a quote in Last":    {First: "p", Last: "q' or PartitionKey gt '"},
		"an overlong prefix": store.Prefix(string(make([]byte, store.MaxKey+1))),
		"a key in a range":   {First: "p", Last: "q", FirstKey: "k"},
		"a quote in a key":   {First: "p", Last: "p", FirstKey: "k' or RowKey gt '"},
	} {
		_, err := table.List(t.Context(), span, "")
		wantError(t, "list with "+name, err, store.ErrInvalid)
	}
	_, err := table.List(t.Context(), store.Partition("p"), "not a cursor!")
	wantError(t, "list from nowhere", err, store.ErrInvalid)
	_, err = table.ListExpired(t.Context(), time.Unix(2e9, 0), "not a cursor!")
	wantError(t, "list what has expired from nowhere", err, store.ErrInvalid)
}
