package keyring_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

func TestWrongWrappingKeyNeverStartsANewRing(t *testing.T) {
	c := newClock()
	table := newTable(t)
	right := newRing(t, table, masterKey(t, keyA), c)
	sealed := seal(t, right, keyring.RefreshHandle, "", "h")
	before := rows(t, table)

	wrong := newRing(t, table, masterKey(t, keyB), c)
	_, sealErr := wrong.Seal(t.Context(), keyring.RefreshHandle, nil, nil)
	_, openErr := wrong.Open(t.Context(), keyring.RefreshHandle, nil, sealed)
	for what, err := range map[string]error{
		"Load": wrong.Load(t.Context()), "Ready": wrong.Ready(t.Context()), "Rotate": wrong.Rotate(t.Context()),
		"Seal": sealErr, "Open": openErr,
	} {
		if !errors.Is(err, keyring.ErrWrongKey) || errors.Is(err, keyring.ErrNotOurs) {
			t.Errorf("%s: %v, want ErrWrongKey", what, err)
			continue
		}
		for _, word := range []string{masterKey(t, keyA).ID(), masterKey(t, keyB).ID(), "set MASTER_KEY"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not name %q", what, err, word)
			}
		}
		if strings.Contains(err.Error(), keyB) {
			t.Errorf("%s: %q repeats the key", what, err)
		}
	}
	after := rows(t, table)
	if len(after) != 1 || after[0].ETag != before[0].ETag {
		t.Error("the ring was changed by an instance that cannot read it")
	}
	opens(t, right, keyring.RefreshHandle, "", sealed, "h")
}

// The rolling restart in full: all on the old key; new instances beside old
// ones; the old key gone.
func TestMasterKeyIsChangedAndNobodyIsSignedOut(t *testing.T) {
	c := newClock()
	table := newTable(t)
	old := newRing(t, table, masterKey(t, keyA), c)
	load(t, old)
	if err := old.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := seal(t, old, keyring.RefreshHandle, "", "first")
	c.advance(time.Hour)
	second := seal(t, old, keyring.RefreshHandle, "", "second")

	changing := newRing(t, table, masterKey(t, keyB, keyA), c)
	load(t, changing)
	for _, e := range epochsOf(t, table) {
		if e.Wrapping != masterKey(t, keyB).ID() {
			t.Errorf("epoch %s is wrapped by %s", e.KeyID, e.Wrapping)
		}
	}
	load(t, old) // what it cannot unwrap any more, it has in memory
	for _, e := range epochsOf(t, table) {
		if e.Wrapping != masterKey(t, keyB).ID() {
			t.Error("an old instance took the new wrapping back")
		}
	}
	opens(t, changing, keyring.RefreshHandle, "", seal(t, old, keyring.RefreshHandle, "", "x"), "x")
	opens(t, old, keyring.RefreshHandle, "", seal(t, changing, keyring.RefreshHandle, "", "x"), "x")
	if err := old.Rotate(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("an instance left behind rotates: %v", err)
	}
	if err := newRing(t, table, masterKey(t, keyA), c).Load(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("an old instance that restarts: %v", err)
	}

	done := newRing(t, table, masterKey(t, keyB), c)
	opens(t, done, keyring.RefreshHandle, "", first, "first")
	opens(t, done, keyring.RefreshHandle, "", second, "second")
	if err := done.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	third := seal(t, done, keyring.RefreshHandle, "", "third")
	if _, err := old.Open(t.Context(), keyring.RefreshHandle, nil, third); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("an instance without the key answers %v, want an outage", err)
	}
	// The instance left behind goes on with its own epoch for Overlap.
	opens(t, done, keyring.RefreshHandle, "", seal(t, old, keyring.RefreshHandle, "", "y"), "y")
	c.advance(keyring.Overlap)
	if sealed, err := old.Seal(t.Context(), keyring.RefreshHandle, nil, nil); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("after Overlap it still seals: %q, %v", sealed, err)
	}
}

// One old epoch that cannot be unwrapped must not stop sign-in, and must not
// sign out those who hold what it made.
func TestEpochThatCannotBeUnwrappedIsAnOutageForItsOwnArtefactsOnly(t *testing.T) {
	c := newClock()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	first := seal(t, r, keyring.RefreshHandle, "", "first")
	if err := r.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	second := seal(t, r, keyring.RefreshHandle, "", "second")
	intact := rows(t, table)[0]
	rewrite(t, table, intact, func(e *epochRow) { e.Wrapping = masterKey(t, keyB).ID() })

	partial := newRing(t, table, masterKey(t, keyA), c)
	load(t, partial)
	opens(t, partial, keyring.RefreshHandle, "", second, "second")
	opens(t, r, keyring.RefreshHandle, "", seal(t, partial, keyring.RefreshHandle, "", "x"), "x")
	if _, err := partial.Open(t.Context(), keyring.RefreshHandle, nil, first); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("got %v, want an outage that names the key", err)
	}
	if err := partial.Ready(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("Ready: %v, want the locked epoch", err)
	}
	current := rows(t, table)[0]
	current.Value = intact.Value
	if _, err := table.Replace(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	c.advance(keyring.UnknownInterval)
	opens(t, partial, keyring.RefreshHandle, "", first, "first")
	if err := partial.Ready(t.Context()); err != nil {
		t.Errorf("Ready after the repair: %v", err)
	}
}

func TestAlteredRowsAreRefused(t *testing.T) {
	for name, alter := range map[string]func(a, b *epochRow){
		"bytes of another epoch": func(a, b *epochRow) { a.Wrapped = b.Wrapped },
		"id of another epoch":    func(a, _ *epochRow) { a.KeyID = "AAAAAAAAAAAA" },
		"flipped bit":            func(a, _ *epochRow) { a.Wrapped[20] ^= 1 },
		"cut":                    func(a, _ *epochRow) { a.Wrapped = a.Wrapped[:5] },
		"no bytes":               func(a, _ *epochRow) { a.Wrapped = nil },
		"no times":               func(a, _ *epochRow) { a.Activates = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table, other := newTable(t), newTable(t)
			load(t, newRing(t, table, masterKey(t, keyA), c))
			load(t, newRing(t, other, masterKey(t, keyA), c))
			b := epochsOf(t, other)[0]
			rewrite(t, table, rows(t, table)[0], func(a *epochRow) { alter(a, &b) })
			if err := newRing(t, table, masterKey(t, keyA), c).Load(t.Context()); err == nil {
				t.Error("loaded")
			}
			if n := len(rows(t, table)); n != 1 {
				t.Errorf("%d epochs: a new ring was started", n)
			}
		})
	}
}

func rewrite(t *testing.T, table store.Table, row store.Row, change func(*epochRow)) {
	t.Helper()
	var e epochRow
	if err := json.Unmarshal(row.Value, &e); err != nil {
		t.Fatal(err)
	}
	change(&e)
	var err error
	if row.Value, err = json.Marshal(e); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Replace(t.Context(), row); err != nil {
		t.Fatal(err)
	}
}

func TestMasterKeyForms(t *testing.T) {
	same := []string{
		keyA, strings.TrimRight(keyA, "="), " " + keyA + "\n",
		"3031323334353637383961626364656630313233343536373839616263646566",
		"3031323334353637383961626364656630313233343536373839616263646566\n",
	}
	id := masterKey(t, keyA).ID()
	for _, form := range same {
		if got := masterKey(t, form).ID(); got != id {
			t.Errorf("%q is another key", form)
		}
	}
	if masterKey(t, "+/+/"+keyA[4:]).ID() != masterKey(t, "-_-_"+keyA[4:]).ID() {
		t.Error("base64 and base64url of the same bytes differ")
	}
	if masterKey(t, keyB).ID() == id || masterKey(t, keyB+"!").ID() == masterKey(t, keyB).ID() {
		t.Error("different keys have the same fingerprint")
	}
	for text, want := range map[string]string{
		"":                        "MASTER_KEY is too short",
		"hunter2-hunter2":         "openssl rand -base64 32",
		strings.Repeat("x", 31):   "31 characters",
		strings.Repeat("ab", 100): "repeats itself",
		strings.Repeat("A", 44):   "repeats itself",
	} {
		_, err := keyring.NewMasterKey(text)
		if err == nil || !strings.Contains(err.Error(), want) || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v; want %q and not the key", text, err, want)
		}
	}
	if _, err := keyring.NewMasterKey(keyA, "short"); err == nil || !strings.Contains(err.Error(), "MASTER_KEY_PREVIOUS is too short") {
		t.Errorf("previous: %v", err)
	}
}
