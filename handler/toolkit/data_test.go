package toolkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/grants"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

// within runs a function as a tool of user on table, as an instance of its own.
func within(t *testing.T, table store.Table, user toolkittest.User, f func(context.Context, *toolkit.Caller) error) {
	t.Helper()
	var failed error
	tool := toolkit.Define("run", "Run.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		failed = f(ctx, c)
		return "", nil
	})
	if got := toolkittest.SignIn(t, offering(tool), user, toolkittest.On(table)).Call("run", nil); got.Failed || failed != nil {
		t.Fatalf("%s %v", got.Text, failed)
	}
}

type entry struct{ Text string }

var bob = toolkittest.User{ObjectID: "bob", Name: "Bob"}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestDataIsTheUsersOwn on every instance and in every client, and nobody else's.
func TestDataIsTheUsersOwn(t *testing.T) {
	table := toolkittest.Table(t)
	key := "Größe / 1 ~A"
	within(t, table, toolkittest.User{ClientID: "one"}, func(ctx context.Context, c *toolkit.Caller) error {
		_, err := toolkit.DataOf[entry](c, "notes").Put(ctx, key, entry{"a"}, "")
		return err
	})
	within(t, table, toolkittest.User{ClientID: "two"}, func(ctx context.Context, c *toolkit.Caller) error {
		got, err := toolkit.DataOf[entry](c, "notes").Get(ctx, key)
		if got.Value.Text != "a" || got.Key != key {
			t.Errorf("another client of the user reads %+v", got)
		}
		_, elsewhere := toolkit.DataOf[entry](c, "other").Get(ctx, key)
		want(t, "another store", elsewhere, toolkit.ErrNoItem)
		return err
	})
	within(t, table, bob, func(ctx context.Context, c *toolkit.Caller) error {
		_, err := toolkit.DataOf[entry](c, "notes").Get(ctx, key)
		want(t, "another user", err, toolkit.ErrNoItem)
		items, _, err := toolkit.DataOf[entry](c, "notes").List(ctx, "")
		if len(items) > 0 {
			t.Errorf("another user lists %v", items)
		}
		return err
	})
}

func TestVersionsOfDataAreKeptApart(t *testing.T) {
	within(t, toolkittest.Table(t), toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[entry](c, "notes")
		first, err := notes.Put(ctx, "k", entry{"1"}, toolkit.IfNew)
		if err != nil {
			return err
		}
		_, err = notes.Put(ctx, "k", entry{"x"}, toolkit.IfNew)
		want(t, "adding what exists", err, toolkit.ErrItemChanged)
		second, err := notes.Put(ctx, "k", entry{"2"}, first)
		if err != nil {
			return err
		}
		_, err = notes.Put(ctx, "k", entry{"x"}, first)
		want(t, "replacing an old version", err, toolkit.ErrItemChanged)
		want(t, "deleting an old version", notes.Delete(ctx, "k", first), toolkit.ErrItemChanged)
		if got, err := notes.Get(ctx, "k"); err != nil || got.Value.Text != "2" || got.ETag != second {
			t.Errorf("%+v, %v", got, err)
		}
		if err := notes.Delete(ctx, "k", second); err != nil {
			return err
		}
		want(t, "deleting what is gone", notes.Delete(ctx, "k", ""), toolkit.ErrNoItem)
		_, err = notes.Put(ctx, "k", entry{"x"}, second)
		want(t, "replacing what is gone", err, toolkit.ErrItemChanged)
		for _, key := range []string{"", fmt.Sprintf("%0201d", 0)} {
			if _, err := notes.Put(ctx, key, entry{}, ""); err == nil {
				t.Errorf("the key %q was taken", key)
			}
		}
		if _, err := notes.Put(ctx, "big", entry{string(make([]byte, toolkit.MaxItemSize))}, ""); err == nil {
			t.Error("too large an item was taken")
		}
		// Of its size are the quotes and what is around them.
		most := entry{strings.Repeat("x", toolkit.MaxItemSize-len(`{"Text":""}`))}
		for more, fits := range map[string]bool{"": true, "x": false} {
			if _, err := notes.Put(ctx, "most", entry{most.Text + more}, ""); (err == nil) != fits {
				t.Errorf("an item of the largest size and %d: %v", len(more), err)
			}
		}
		return nil
	})
}

// TestDataHasAQuotaThatHeals: a count that a crash left too high is put right before
// somebody is refused for it, and deleting makes room.
func TestDataHasAQuotaThatHeals(t *testing.T) {
	table := toolkittest.Table(t)
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[entry](c, "notes")
		if _, err := notes.Put(ctx, "first", entry{}, ""); err != nil {
			return err
		}
		partition := toolkit.DataPrefix + string(c.Subject) + "-notes"
		count, err := table.Get(ctx, partition, "~items")
		if err != nil {
			return err
		}
		count.Value = fmt.Appendf(nil, `{"v":1,"items":%d}`, toolkit.MaxItems)
		if _, err := table.Replace(ctx, count); err != nil {
			return err
		}
		if _, err := notes.Put(ctx, "second", entry{}, ""); err != nil {
			t.Errorf("refused by a wrong count: %v", err)
		}
		for i := range toolkit.MaxItems - 2 {
			row := store.Row{Partition: partition, Key: fmt.Sprintf("n%04d", i), Value: []byte(`{"v":1,"data":{}}`)}
			if _, err := table.Insert(ctx, row); err != nil {
				return err
			}
		}
		if count, err = table.Get(ctx, partition, "~items"); err != nil {
			return err
		}
		count.Value = fmt.Appendf(nil, `{"v":1,"items":%d}`, toolkit.MaxItems)
		if _, err := table.Replace(ctx, count); err != nil {
			return err
		}
		_, err = notes.Put(ctx, "beyond", entry{}, "")
		want(t, "one too many", err, toolkit.ErrQuota)
		if _, err := notes.Put(ctx, "first", entry{"new"}, ""); err != nil {
			t.Errorf("replacing needs room: %v", err)
		}
		if err := notes.Delete(ctx, "first", ""); err != nil {
			return err
		}
		_, err = notes.Put(ctx, "beyond", entry{}, "")
		return err
	})
}

func TestDataIsListedInPages(t *testing.T) {
	within(t, toolkittest.Table(t), toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[int](c, "numbers")
		for i := range 205 {
			if _, err := notes.Put(ctx, fmt.Sprintf("%03d", i), i, toolkit.IfNew); err != nil {
				return err
			}
		}
		var got []int
		pages, after := 0, ""
		for more := true; more; pages++ {
			var items []toolkit.Item[int]
			var err error
			if items, more, err = notes.List(ctx, after); err != nil {
				return err
			}
			for _, item := range items {
				got = append(got, item.Value)
				after = item.Key
			}
		}
		for i, v := range got {
			if i != v {
				t.Fatalf("item %d is %d", i, v)
			}
		}
		if len(got) != 205 || pages != 3 {
			t.Errorf("%d items on %d pages", len(got), pages)
		}
		return nil
	})
}

// TestWritersAtOnceAreCountedRight: of many that add the same one wins, and the number of
// items is that of those who did.
func TestWritersAtOnceAreCountedRight(t *testing.T) {
	table := toolkittest.Table(t)
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 4 {
			wg.Go(func() {
				if _, err := toolkit.DataOf[entry](c, "notes").Put(ctx, "same", entry{}, toolkit.IfNew); err == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		row, err := table.Get(ctx, toolkit.DataPrefix+string(c.Subject)+"-notes", "~items")
		if won != 1 || string(row.Value) != `{"v":1,"items":1}` {
			t.Errorf("%d won, counted %s", won, row.Value)
		}
		return err
	})
}

// TestDataIsErasedWithTheUser, all stores of theirs and nothing of others'.
func TestDataIsErasedWithTheUser(t *testing.T) {
	table := toolkittest.Table(t)
	var ada grants.Subject
	write := func(ctx context.Context, c *toolkit.Caller) error {
		for _, name := range []string{"notes", "other"} {
			for i := range 120 {
				if _, err := toolkit.DataOf[int](c, name).Put(ctx, fmt.Sprint(i), i, toolkit.IfNew); err != nil {
					return err
				}
			}
		}
		return nil
	}
	within(t, table, bob, write)
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error { ada = c.Subject; return write(ctx, c) })

	stores := map[string]int{}
	each := func(subject grants.Subject) int {
		n := 0
		if err := toolkit.EachData(t.Context(), table, subject, func(name, key string, data json.RawMessage) error {
			n++
			stores[name]++
			if key != string(data) {
				t.Errorf("%s holds %s", key, data)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := each(ada); n != 240 {
		t.Errorf("%d items before", n)
	}
	exported := 0
	all, err := toolkit.ExportData(t.Context(), table, ada)
	for _, items := range all {
		exported += len(items)
		for key, data := range items {
			if key != string(data) {
				t.Errorf("%s is exported as %s", key, data)
			}
		}
	}
	if err != nil || len(all) != len(stores) || exported != 240 {
		t.Errorf("%d items of %d stores are exported: %v", exported, len(all), err)
	}
	if diff := cmp.Diff(map[string]int{"notes": 120, "other": 120}, stores); diff != "" {
		t.Error(diff)
	}
	if n, err := toolkit.EraseData(t.Context(), table, ada); n != 242 || err != nil {
		t.Errorf("erased %d rows, %v", n, err)
	}
	if n := each(ada); n != 0 {
		t.Errorf("%d items are left", n)
	}
	if n := each(grants.SubjectOf("f2a49aef-3c2c-4e9b-8f5a-2f7b7a6f0001", "bob")); n != 240 {
		t.Errorf("another user has %d items left", n)
	}
}

// TestWhatCannotBeListedIsNotErased: that there is nothing, and that nobody knows, are
// told apart.
func TestWhatCannotBeListedIsNotErased(t *testing.T) {
	table, errUnlisted := storetest.Instrument(toolkittest.Table(t)), errors.New("storage does not answer")
	table.Before(storetest.Fail(errUnlisted, storetest.List))
	if n, err := toolkit.EraseData(t.Context(), table, "someone"); !errors.Is(err, errUnlisted) {
		t.Errorf("erased %d rows, %v", n, err)
	}
	nothing := func(string, string, json.RawMessage) error { return nil }
	if err := toolkit.EachData(t.Context(), table, "someone", nothing); !errors.Is(err, errUnlisted) {
		t.Errorf("read everything, %v", err)
	}
}

// TestNamesOfDataAreBounded by what they take in the table.
func TestNamesOfDataAreBounded(t *testing.T) {
	within(t, toolkittest.Table(t), toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[entry](c, "notes")
		for key, fits := range map[string]bool{"": false, strings.Repeat("a", 200): true, strings.Repeat("a", 201): false, strings.Repeat("/", 66): true, strings.Repeat("/", 67): false} {
			if _, err := notes.Put(ctx, key, entry{}, ""); (err == nil) != fits {
				t.Errorf("%d bytes of %.1q: %v", len(key), key, err)
			}
			_, read := notes.Get(ctx, key)
			_, _, listed := notes.List(ctx, key)
			if (read == nil) != fits || (listed == nil) != (fits || key == "") || (notes.Delete(ctx, key, "") == nil) != fits {
				t.Errorf("%d bytes of %.1q: read %v, listed %v", len(key), key, read, listed)
			}
		}
		return nil
	})
}

// TestACountThatCannotBeReadRefusesWhatIsNew, rather than to begin at none.
func TestACountThatCannotBeReadRefusesWhatIsNew(t *testing.T) {
	table := storetest.Instrument(toolkittest.Table(t))
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[entry](c, "notes")
		if _, err := notes.Put(ctx, "k", entry{}, ""); err != nil {
			return err
		}
		partition := toolkit.DataPrefix + string(c.Subject) + "-notes"
		for value, fails := range map[string]storetest.Op{"{": "", fmt.Sprintf(`{"v":1,"items":%d}`, toolkit.MaxItems): storetest.List} {
			row, err := table.Get(ctx, partition, "~items")
			if err != nil {
				return err
			}
			row.Value = []byte(value)
			if _, err := table.Replace(ctx, row); err != nil {
				return err
			}
			table.Before(storetest.Fail(errors.New("storage is away"), fails))
			_, err = notes.Put(ctx, "new", entry{}, toolkit.IfNew)
			table.Repair()
			if err == nil || !strings.Contains(err.Error(), "cannot be reached now") {
				t.Errorf("%s: %v", value, err)
			}
			_, err = notes.Get(ctx, "new")
			want(t, value, err, toolkit.ErrNoItem)
		}
		return nil
	})
}

// TestDataThatCannotBeReachedIsNotTakenForAbsent: each operation that fails is the
// user's to try again, says nothing of why, and leaves what there was.
func TestDataThatCannotBeReachedIsNotTakenForAbsent(t *testing.T) {
	table := storetest.Instrument(toolkittest.Table(t))
	away := errors.New("10.0.0.1 does not answer")
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		notes := toolkit.DataOf[entry](c, "notes")
		etag, err := notes.Put(ctx, "k", entry{"kept"}, "")
		if err != nil {
			return err
		}
		put := func(key string, etag toolkit.ETag) func() error {
			return func() error { _, err := notes.Put(ctx, key, entry{"x"}, etag); return err }
		}
		for name, test := range map[string]struct {
			fails storetest.Op
			use   func() error
		}{
			"read":                   {storetest.Get, func() error { _, err := notes.Get(ctx, "k"); return err }},
			"list":                   {storetest.List, func() error { _, _, err := notes.List(ctx, ""); return err }},
			"replace":                {storetest.Replace, put("k", etag)},
			"look before a write":    {storetest.Get, put("k", "")},
			"add":                    {storetest.Insert, put("new", toolkit.IfNew)},
			"count":                  {storetest.Replace, put("new", toolkit.IfNew)},
			"look at the count":      {storetest.Get, put("new", toolkit.IfNew)},
			"look before a deletion": {storetest.Get, func() error { return notes.Delete(ctx, "k", "") }},
			"delete":                 {storetest.Delete, func() error { return notes.Delete(ctx, "k", etag) }},
		} {
			table.Before(storetest.Fail(away, test.fails))
			err := test.use()
			table.Repair()
			if err == nil || !errors.Is(err, away) || !strings.Contains(toolkit.Explain(err), "cannot be reached now") || strings.Contains(toolkit.Explain(err), "10.0.0.1") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := notes.Get(ctx, "k"); err != nil || got.Value.Text != "kept" {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = notes.Get(ctx, "new")
		want(t, "what was not added", err, toolkit.ErrNoItem)
		table.Before(storetest.Fail(store.ErrConflict, storetest.Replace).In(toolkit.DataPrefix))
		if err := put("new", toolkit.IfNew)(); err == nil || !strings.Contains(err.Error(), "written at once") {
			t.Errorf("a count that others always change: %v", err)
		}
		table.Repair()
		return nil
	})
}

// TestDataThatCannotBeReadIsSaid: not skipped, and not taken for empty.
func TestDataThatCannotBeReadIsSaid(t *testing.T) {
	for value, whole := range map[string]bool{"{": false, `{"v":1,"data":7}`: true} {
		table := toolkittest.Table(t)
		within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
			partition := toolkit.DataPrefix + string(c.Subject) + "-notes"
			if _, err := table.Insert(ctx, store.Row{Partition: partition, Key: "k", Value: []byte(value)}); err != nil {
				return err
			}
			notes := toolkit.DataOf[entry](c, "notes")
			_, read := notes.Get(ctx, "k")
			_, _, listed := notes.List(ctx, "")
			for what, err := range map[string]error{"read": read, "listed": listed} {
				if err == nil || !strings.Contains(err.Error(), "cannot be read") {
					t.Errorf("%s of %s: %v", what, value, err)
				}
			}
			err := toolkit.EachData(ctx, table, c.Subject, func(string, string, json.RawMessage) error { return nil })
			if (err == nil) != whole {
				t.Errorf("each of %s: %v", value, err)
			}
			stop := errors.New("enough")
			if err := toolkit.EachData(ctx, table, c.Subject, func(string, string, json.RawMessage) error { return stop }); whole && !errors.Is(err, stop) {
				t.Errorf("the visit goes on: %v", err)
			}
			return nil
		})
	}
}

// TestAnErasureThatFailsIsNotComplete: what is left is erased by the next.
func TestAnErasureThatFailsIsNotComplete(t *testing.T) {
	table := storetest.Instrument(toolkittest.Table(t))
	away := errors.New("storage is away")
	within(t, table, toolkittest.User{}, func(ctx context.Context, c *toolkit.Caller) error {
		if _, err := toolkit.DataOf[entry](c, "notes").Put(ctx, "k", entry{}, ""); err != nil {
			return err
		}
		table.Before(storetest.Fail(away, storetest.Drop))
		if n, err := toolkit.EraseData(ctx, table, c.Subject); n != 0 || !errors.Is(err, away) {
			t.Errorf("erased %d rows, %v", n, err)
		}
		table.Repair()
		if n, err := toolkit.EraseData(ctx, table, c.Subject); n != 2 || err != nil {
			t.Errorf("erased %d rows, %v", n, err)
		}
		return nil
	})
}

// TestAStoreHasAName that is safe as a part of the table's key.
func TestAStoreHasAName(t *testing.T) {
	within(t, toolkittest.Table(t), toolkittest.User{}, func(_ context.Context, c *toolkit.Caller) error {
		for _, name := range []string{"", "../x", "a-b", "A", strings.Repeat("a", 49)} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%q was taken", name)
					}
				}()
				toolkit.DataOf[entry](c, name)
			}()
		}
		return nil
	})
}
