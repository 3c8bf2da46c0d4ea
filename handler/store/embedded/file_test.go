package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
	"entramcp/handler/store/storetest"
)

// edit changes the file of a store that is closed.
func edit(t *testing.T, dir string, change func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, embedded.FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// forget makes the file what versions without an index wrote.
func forget(tx *bbolt.Tx) error {
	return errors.Join(tx.DeleteBucket([]byte("expiry")), tx.DeleteBucket([]byte("state")))
}

// expired follows a listing as the sweep does and counts its pages.
func expired(t *testing.T, table store.Table) (keys []string, pages int) {
	t.Helper()
	for from := store.Cursor(""); ; {
		page, err := table.ListExpired(t.Context(), time.Unix(1000, 0), from)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Rows {
			keys = append(keys, row.Key)
		}
		pages++
		if from = page.Next; from == "" {
			slices.Sort(keys)
			return keys, pages
		}
	}
}

func TestFileOfAVersionWithoutIndexIsIndexedInSteps(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	const rows = 12_000
	var want []string
	edit(t, dir, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("rows"))
		for i := range rows {
			version, err := b.NextSequence()
			if err != nil {
				return err
			}
			// As the format says: version and Expires, big-endian.
			value := fmt.Appendf(nil, "\x01%s%s", be(version), be(uint64(rows-1-i))) // the last ones have expired
			key := fmt.Sprintf("%06d", i)
			if err := b.Put([]byte("p\x00"+key), value); err != nil {
				return err
			}
			if i >= rows-1000 {
				want = append(want, key)
			}
		}
		return forget(tx)
	})

	table := open(t, dir)
	row, err := table.Get(t.Context(), "p", "011500")
	if err != nil {
		t.Fatal(err)
	}
	// What is written while the index is incomplete is in it too.
	row.Expires = time.Unix(5000, 0)
	if _, err := table.Replace(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(key string) bool { return key == "011500" })
	row = storetest.MustGet(t, table, "p", "011600")
	storetest.MustReplace(t, table, row) // which keeps its time
	storetest.MustInsert(t, table, store.Row{Partition: "a", Key: "new", Expires: time.Unix(1, 0)})
	first, err := table.ListExpired(t.Context(), time.Unix(1000, 0), "")
	if err != nil || len(first.Rows) != 0 || first.Next == "" {
		t.Fatalf("first page: %d rows, next %q, %v; want a step of the index", len(first.Rows), first.Next, err)
	}
	closed(t, table)
	table = open(t, dir)
	got, pages := expired(t, table)
	if !slices.Equal(got, append(want, "new")) {
		t.Errorf("%d expired rows, want %d", len(got), len(want)+1)
	}
	if pages != 2 {
		t.Errorf("the rest of the index was made in %d pages", pages)
	}
	if _, pages := expired(t, table); pages != 1 {
		t.Errorf("%d pages once the index is complete", pages)
	}
}

// A version without the index may have run in between, after a roll-back.
func TestWritesOfAVersionWithoutIndexAreFound(t *testing.T) {
	dir := t.TempDir()
	table := open(t, dir)
	for _, key := range []string{"extended", "gone", "kept"} {
		storetest.MustInsert(t, table, store.Row{Partition: "p", Key: key, Expires: time.Unix(10, 0)})
	}
	closed(t, table)
	// Deletions alone leave entries without a row.
	edit(t, dir, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("rows")).Delete([]byte("p\x00gone")) })
	table = open(t, dir)
	if got, _ := expired(t, table); !slices.Equal(got, []string{"extended", "kept"}) {
		t.Errorf("after a deletion: %v", got)
	}
	closed(t, table)
	edit(t, dir, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("rows"))
		for key, expires := range map[string]uint64{"extended": 9999, "new": 20} {
			version, err := b.NextSequence()
			if err != nil {
				return err
			}
			if err := b.Put([]byte("p\x00"+key), fmt.Appendf(nil, "\x01%s%s", be(version), be(expires))); err != nil {
				return err
			}
		}
		return nil
	})
	if got, _ := expired(t, open(t, dir)); !slices.Equal(got, []string{"kept", "new"}) {
		t.Errorf("after writes: %v", got)
	}
}

// A row is not swept because of an entry with another expiry.
func TestEntryIsNotBelievedAgainstItsRow(t *testing.T) {
	dir := t.TempDir()
	table := open(t, dir)
	storetest.MustInsert(t, table, store.Row{Partition: "p", Key: "live", Expires: time.Unix(5000, 0)})
	closed(t, table)
	edit(t, dir, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("expiry")).Put([]byte(be(1<<63|10)+"p\x00live"), nil)
	})
	if got, _ := expired(t, open(t, dir)); len(got) != 0 {
		t.Errorf("listed as expired: %v", got)
	}
}

// What is damaged is an error of unknown outcome wherever it is met, never a
// row, a missing row or a panic.
func TestDamagedRowIsAnError(t *testing.T) {
	whole := "\x01" + be(7) + be(10) + "value"
	for name, damage := range map[string]func(tx *bbolt.Tx) error{
		"cut in the header": func(tx *bbolt.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte("p\x00k"), []byte(whole[:16])) },
		"empty":             func(tx *bbolt.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte("p\x00k"), nil) },
		"another format": func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("rows")).Put([]byte("p\x00k"), []byte("\x02"+whole[1:]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			table := open(t, dir)
			storetest.MustInsert(t, table, store.Row{Partition: "p", Key: "k", Expires: time.Unix(10, 0)})
			closed(t, table)
			edit(t, dir, damage)
			table = open(t, dir)
			row := store.Row{Partition: "p", Key: "k", ETag: "7"}
			for what, call := range map[string]func() error{
				"get":          func() error { _, err := table.Get(t.Context(), "p", "k"); return err },
				"replace":      func() error { _, err := table.Replace(t.Context(), row); return err },
				"delete":       func() error { return table.Delete(t.Context(), "p", "k", "7") },
				"drop":         func() error { _, err := table.Drop(t.Context(), []store.Row{row}); return err },
				"list":         func() error { _, err := table.List(t.Context(), store.Partition("p"), ""); return err },
				"list expired": func() error { _, err := table.ListExpired(t.Context(), time.Unix(11, 0), ""); return err },
			} {
				wantUnknown(t, what, call())
			}
			if _, err := table.Insert(t.Context(), row); !errors.Is(err, store.ErrExists) {
				t.Errorf("insert over it: %v", err)
			}
			closed(t, table)
			edit(t, dir, forget)
			_, err := open(t, dir).ListExpired(t.Context(), time.Unix(11, 0), "")
			wantUnknown(t, "index it", err)
		})
	}
}

func TestDamagedAddressIsAnError(t *testing.T) {
	for _, entry := range []string{"short", be(1<<63 | 10)} { // without an address
		dir := t.TempDir()
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, dir, func(tx *bbolt.Tx) error {
			return errors.Join(tx.Bucket([]byte("rows")).Put([]byte("no-NUL"), []byte("\x01"+be(7)+be(10))),
				tx.Bucket([]byte("expiry")).Put([]byte(entry), nil))
		})
		table := open(t, dir)
		page, err := table.List(t.Context(), store.Prefix(""), "")
		wantUnknown(t, "list", err)
		if len(page.Rows) != 0 {
			t.Errorf("rows beside the error: %v", page.Rows)
		}
		_, err = table.ListExpired(t.Context(), time.Unix(11, 0), "")
		wantUnknown(t, "list expired", err)
	}
}

func TestCursorOfAnotherListingIsRefused(t *testing.T) {
	table := open(t, t.TempDir())
	for _, from := range []store.Cursor{"a/k", "m/", "/k", "m/k/", "m k/k"} {
		if _, err := table.List(t.Context(), store.Span{First: "m", Last: "p"}, from); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("cursor %q: %v", from, err)
		}
	}
	if _, err := table.List(t.Context(), store.Span{First: "m", Last: "p"}, "m/k"); err != nil {
		t.Errorf("a cursor within the span: %v", err)
	}
	for _, from := range []store.Cursor{"m/k", "AAAA", "x!"} {
		if _, err := table.ListExpired(t.Context(), time.Unix(11, 0), from); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("cursor %q of a listing of what has expired: %v", from, err)
		}
	}
}

func wantUnknown(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid} {
		if errors.Is(err, sentinel) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func be(n uint64) string {
	var b bytes.Buffer
	for shift := 56; shift >= 0; shift -= 8 {
		b.WriteByte(byte(n >> shift))
	}
	return b.String()
}
