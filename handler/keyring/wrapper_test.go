package keyring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestWrongWrappingKeyNeverStartsANewRing(t *testing.T) {
	c := clocktest.New()
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
	neither := newRing(t, table, masterKey(t, keyB, keyB+"!"), c)
	if err := neither.Load(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("with neither of two keys: %v", err)
	}
	after := rows(t, table)
	if len(after) != 1 || after[0].ETag != before[0].ETag {
		t.Error("the ring was changed by an instance that cannot read it")
	}
	opens(t, right, keyring.RefreshHandle, "", sealed, "h")
}

// The rolling restart in full: all on the old key; new instances beside old
// ones, which can still start; the epochs wrapped again; the old key gone.
func TestMasterKeyIsChangedAndNobodyIsSignedOut(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	old := newRing(t, table, masterKey(t, keyA), c)
	load(t, old)
	rotate(t, old)
	first := seal(t, old, keyring.RefreshHandle, "", "first")
	c.Advance(time.Hour)
	load(t, old)
	second := seal(t, old, keyring.RefreshHandle, "", "second")

	changing := newRing(t, table, masterKey(t, keyB, keyA), c)
	load(t, changing)
	c.Advance(keyring.RewrapAfter - time.Second)
	for _, r := range []*keyring.Ring{changing, newRing(t, table, masterKey(t, keyB, keyA), c), old, newRing(t, table, masterKey(t, keyA), c)} {
		load(t, r)
		opens(t, r, keyring.RefreshHandle, "", first, "first")
		opens(t, r, keyring.RefreshHandle, "", second, "second")
	}
	for _, e := range epochsOf(t, table) {
		if e.Wrapping != masterKey(t, keyA).ID() {
			t.Errorf("epoch %s was wrapped again while instances with the old key may start", e.KeyID)
		}
	}
	c.Advance(time.Second)
	load(t, changing)
	load(t, old) // what it cannot unwrap any more, it has in memory
	for _, e := range epochsOf(t, table) {
		if e.Wrapping != masterKey(t, keyB).ID() {
			t.Errorf("epoch %s is wrapped by %s", e.KeyID, e.Wrapping)
		}
	}
	opens(t, changing, keyring.RefreshHandle, "", seal(t, old, keyring.RefreshHandle, "", "x"), "x")
	opens(t, old, keyring.RefreshHandle, "", seal(t, changing, keyring.RefreshHandle, "", "x"), "x")
	if err := old.Rotate(t.Context()); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("an instance left behind rotates: %v", err)
	}
	if err := old.Retire(t.Context(), 2); !errors.Is(err, keyring.ErrWrongKey) || len(rows(t, table)) != 2 {
		t.Errorf("an instance left behind replaces the newest: %v, %d epochs", err, len(rows(t, table)))
	}

	done := newRing(t, table, masterKey(t, keyB), c)
	opens(t, done, keyring.RefreshHandle, "", first, "first")
	opens(t, done, keyring.RefreshHandle, "", second, "second")
	rotate(t, done)
	c.Advance(time.Hour)
	third := seal(t, done, keyring.RefreshHandle, "", "third")
	if _, err := old.Open(t.Context(), keyring.RefreshHandle, nil, third); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("an instance without the key answers %v, want an outage", err)
	}
	// The instance left behind goes on with its own epoch for Overlap.
	opens(t, done, keyring.RefreshHandle, "", seal(t, old, keyring.RefreshHandle, "", "y"), "y")
	c.Advance(keyring.Overlap)
	if sealed, err := old.Seal(t.Context(), keyring.RefreshHandle, nil, nil); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("after Overlap it still seals: %q, %v", sealed, err)
	}
}

// No epoch is begun that half of the instances could not read, unless an
// operator asks for it.
func TestRotationWaitsForTheChangeOfTheMasterKey(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	load(t, newRing(t, table, masterKey(t, keyA), c))
	c.Advance(31 * day)
	changing := newRing(t, table, masterKey(t, keyB, keyA), c)
	load(t, changing)
	if n := len(rows(t, table)); n != 1 {
		t.Errorf("%d epochs while the key is being changed", n)
	}
	c.Advance(keyring.RewrapAfter)
	load(t, changing)
	load(t, changing)
	if n := len(rows(t, table)); n != 2 {
		t.Errorf("%d epochs after the key was changed, want the one that was due", n)
	}
}

func TestOperatorSaysThatEveryInstanceHasTheNewKey(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	old := newRing(t, table, masterKey(t, keyA), c)
	sealed := seal(t, old, keyring.RefreshHandle, "", "h")
	if n, err := old.Rewrap(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing to do: %d, %v", n, err)
	}
	for want := range 2 {
		if n, err := newRing(t, table, masterKey(t, keyB, keyA), c).Rewrap(t.Context()); n != 1-want || err != nil {
			t.Errorf("%d epochs were wrapped again, want %d: %v", n, 1-want, err)
		}
	}
	opens(t, newRing(t, table, masterKey(t, keyB), c), keyring.RefreshHandle, "", sealed, "h")
}

// A key that is changed back at once, and then changed again: what was noted of the
// first change says nothing about the instances of the second.
func TestEveryChangeOfTheMasterKeyGivesInstancesTheirTime(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	load(t, newRing(t, table, masterKey(t, keyA), c))
	var log bytes.Buffer
	changing := keyring.New(keyring.Options{Table: table, Wrapper: masterKey(t, keyB, keyA), Now: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, want := range []string{"rewrapped_after=", "wrapping=" + masterKey(t, keyB).ID()} { // so that nobody drops the old key too early
		load(t, changing)
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not logged: %s", want, log.String())
		}
		log.Reset()
		c.Advance(keyring.RewrapAfter)
	}
	if n, err := newRing(t, table, masterKey(t, keyA, keyB), c).Rewrap(t.Context()); n != 1 || err != nil {
		t.Fatalf("changed back: %d, %v", n, err)
	}
	load(t, changing)
	if e := epochsOf(t, table)[0]; e.Wrapping != masterKey(t, keyA).ID() {
		t.Error("wrapped again while instances with the old key may start")
	}
}

// forgetful wraps, and unwraps something else.
type forgetful struct{ keyring.Wrapper }

func (f forgetful) Unwrap(context.Context, string, []byte) ([]byte, error) {
	return make([]byte, 32), nil
}

func TestNoEpochIsKeptThatDoesNotUnwrap(t *testing.T) {
	table := newTable(t)
	r := newRing(t, table, forgetful{masterKey(t, keyA)}, clocktest.New())
	if err := r.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "does not unwrap what it wraps") {
		t.Errorf("loaded: %v", err)
	}
	if n := len(rows(t, table)); n != 0 {
		t.Errorf("%d epochs were kept", n)
	}
}

// One old epoch that cannot be unwrapped must not stop sign-in, and must not
// sign out those who hold what it made.
func TestEpochThatCannotBeUnwrappedIsAnOutageForItsOwnArtefactsOnly(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	first := seal(t, r, keyring.RefreshHandle, "", "first")
	rotate(t, r)
	c.Advance(time.Hour)
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
	storetest.MustReplace(t, table, current)
	c.Advance(keyring.UnknownInterval)
	opens(t, partial, keyring.RefreshHandle, "", first, "first")
	if err := partial.Ready(t.Context()); err != nil {
		t.Errorf("Ready after the repair: %v", err)
	}
}

func TestAlteredRowsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		alter func(a, b *epochRow)
		want  string
	}{
		"bytes of another epoch": {func(a, b *epochRow) { a.Wrapped = b.Wrapped }, "was altered"},
		"id of another epoch":    {func(a, _ *epochRow) { a.KeyID = "AAAAAAAAAAAA" }, "was altered"},
		"flipped bit":            {func(a, _ *epochRow) { a.Wrapped[20] ^= 1 }, "unwrap epoch 1"},
		"cut":                    {func(a, _ *epochRow) { a.Wrapped = a.Wrapped[:5] }, "unwrap epoch 1"},
		"no bytes":               {func(a, _ *epochRow) { a.Wrapped = nil }, "is not an epoch"},
		"no beginning":           {func(a, _ *epochRow) { a.Activates = time.Time{} }, "is not an epoch"},
		"no age":                 {func(a, _ *epochRow) { a.Created = time.Time{} }, "is not an epoch"},
		"no wrapping key":        {func(a, _ *epochRow) { a.Wrapping = "" }, "is not an epoch"},
		"an id that is too long": {func(a, _ *epochRow) { a.KeyID += "A" }, "is not an epoch"},
	} {
		t.Run(name, func(t *testing.T) {
			c := clocktest.New()
			table, other := newTable(t), newTable(t)
			load(t, newRing(t, table, masterKey(t, keyA), c))
			load(t, newRing(t, other, masterKey(t, keyA), c))
			b := epochsOf(t, other)[0]
			rewrite(t, table, rows(t, table)[0], func(a *epochRow) { tt.alter(a, &b) })
			if err := newRing(t, table, masterKey(t, keyA), c).Load(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("loaded: %v, want %q", err, tt.want)
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
	storetest.MustReplace(t, table, row)
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
	// How a value is read must never change: another reading is another key,
	// and locks everyone out. Only 32 bytes are taken as bytes.
	for text, want := range map[string]string{
		keyA: "eb186779b1185ea1",
		"303132333435363738396162636465663031323334353637383961626364656":    "1717edc02b2350fe", // a digit less
		"30313233343536373839616263646566303132333435363738396162636465":     "8c5e186365dedab2", // 31 bytes
		"303132333435363738396162636465663031323334353637383961626364656667": "768acedc90c27936", // 33 bytes
		"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ==":                       "00ef526d83a4364d", // 31 bytes
		"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWZn":                       "1706840d0060260e", // 33 bytes
		"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZW!":                        "5e6fa5927029ae10", // not base64
		"3031323334353637383961626364656630313233343536373839616263646566zz": "40c656c2cdff0f63", // goes on
		"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY!!":                      "bcea8b1492007ebf",
		keyB: "c644fb8e03d38ed8",
	} {
		if got := masterKey(t, text).ID(); got != "master-key-"+want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if masterKey(t, keyB).ID() == id || masterKey(t, keyB+"!").ID() == masterKey(t, keyB).ID() {
		t.Error("different keys have the same fingerprint")
	}
	if _, err := newMasterKey(strings.Repeat("abcdefgh", 4)); err != nil { // as few characters as may be, of as few kinds
		t.Error(err)
	}
	for text, want := range map[string]string{
		"":                           "MASTER_KEY is too short",
		strings.Repeat("abcdefg", 5): "repeats itself",
		"hunter2-hunter2":            "openssl rand -base64 32",
		strings.Repeat("x", 31):      "31 characters",
		strings.Repeat("ab", 100):    "repeats itself",
		strings.Repeat("A", 44):      "repeats itself",
	} {
		_, err := newMasterKey(text)
		if err == nil || !strings.Contains(err.Error(), want) || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v; want %q and not the key", text, err, want)
		}
	}
	if _, err := newMasterKey(keyA, "short"); err == nil || !strings.Contains(err.Error(), "MASTER_KEY_PREVIOUS is too short") {
		t.Errorf("previous: %v", err)
	}
}
