package keyring_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const (
	keyA = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	keyB = "correct horse battery staple, and then some more of it"
)

var errStorage = errors.New("storage is away")

func newTable(tb testing.TB) store.Table { return storetest.Embedded(tb) }

func masterKey(tb testing.TB, current string, previous ...string) keyring.Wrapper {
	tb.Helper()
	w, err := newMasterKey(current, previous...)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func newMasterKey(current string, previous ...string) (keyring.Wrapper, error) {
	var older []keyring.MasterKey
	for _, text := range previous {
		older = append(older, keyring.MasterKey{Value: secret.New(text)})
	}
	return keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(current)}, older...)
}

// newRing is one instance.
func newRing(tb testing.TB, table store.Table, w keyring.Wrapper, c *clocktest.Clock) *keyring.Ring {
	tb.Helper()
	return keyring.New(keyring.Options{Table: table, Wrapper: w, Now: c.Now, Log: slog.New(slog.DiscardHandler)})
}

// loadedRing is an instance that has made the ring of an empty table.
func loadedRing(tb testing.TB) (*clocktest.Clock, store.Table, *keyring.Ring) {
	tb.Helper()
	c, table := clocktest.New(), newTable(tb)
	r := newRing(tb, table, masterKey(tb, keyA), c)
	load(tb, r)
	return c, table, r
}

func load(tb testing.TB, r *keyring.Ring) {
	tb.Helper()
	if err := r.Load(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func rotate(tb testing.TB, r *keyring.Ring) {
	tb.Helper()
	if err := r.Rotate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func seal(tb testing.TB, r *keyring.Ring, p keyring.Purpose, ad, plaintext string) string {
	tb.Helper()
	sealed, err := r.Seal(tb.Context(), p, []byte(ad), []byte(plaintext))
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func opens(tb testing.TB, r *keyring.Ring, p keyring.Purpose, ad, sealed, want string) {
	tb.Helper()
	got, err := r.Open(tb.Context(), p, []byte(ad), sealed)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	if string(got) != want {
		tb.Fatalf("opened %q, want %q", got, want)
	}
}

func signingID(tb testing.TB, r *keyring.Ring) string {
	tb.Helper()
	kid, _, err := r.Signing(tb.Context(), keyring.AccessToken)
	if err != nil {
		tb.Fatal(err)
	}
	return kid
}

func rows(tb testing.TB, table store.Table) []store.Row {
	tb.Helper()
	return storetest.Rows(tb, table, store.Partition(keyring.Partition))
}

// epochRow is the part of an epoch's row that tests look at.
type epochRow struct {
	KeyID     string    `json:"kid"`
	Created   time.Time `json:"created"`
	Activates time.Time `json:"activates"`
	Wrapping  string    `json:"wrapping"`
	Wrapped   []byte    `json:"wrapped"`
}

func epochsOf(tb testing.TB, table store.Table) (all []epochRow) {
	tb.Helper()
	for _, row := range rows(tb, table) {
		var e epochRow
		if err := json.Unmarshal(row.Value, &e); err != nil {
			tb.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// sweep deletes what has expired, as handler/sweep does.
func sweep(tb testing.TB, table store.Table, now time.Time) {
	tb.Helper()
	for _, row := range rows(tb, table) {
		if row.Expires.IsZero() || !row.Expires.Before(now) {
			continue
		}
		if err := table.Delete(tb.Context(), row.Partition, row.Key, row.ETag); err != nil {
			tb.Fatal(err)
		}
	}
}
