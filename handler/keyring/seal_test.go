package keyring_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store/storetest"
)

func TestSealedTextOpensOnlyForItsPurposeAndRow(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	sealed := seal(t, r, keyring.UpstreamTokens, "g-1/a", "token")
	opens(t, r, keyring.UpstreamTokens, "g-1/a", sealed, "token")
	opens(t, newRing(t, table, masterKey(t, keyA), c), keyring.UpstreamTokens, "g-1/a", sealed, "token")

	stranger := seal(t, newRing(t, newTable(t), masterKey(t, keyA), c), keyring.UpstreamTokens, "g-1/a", "token")
	kid, rest := sealed[:12], sealed[12:]
	raw, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		t.Fatalf("sealed text is not unpadded base64url: %v", err)
	}
	flip := func(at int) string {
		b := bytes.Clone(raw)
		b[at] ^= 1
		return kid + base64.RawURLEncoding.EncodeToString(b)
	}
	type attempt struct {
		purpose keyring.Purpose
		ad      string
		text    string
	}
	attempts := map[string]attempt{
		"another row":       {keyring.UpstreamTokens, "g-1/b", sealed},
		"no row":            {keyring.UpstreamTokens, "", sealed},
		"another purpose":   {keyring.RefreshHandle, "g-1/a", sealed},
		"another ring":      {keyring.UpstreamTokens, "g-1/a", stranger},
		"another epoch id":  {keyring.UpstreamTokens, "g-1/a", stranger[:12] + rest},
		"nonce changed":     {keyring.UpstreamTokens, "g-1/a", flip(0)},
		"text changed":      {keyring.UpstreamTokens, "g-1/a", flip(13)},
		"tag changed":       {keyring.UpstreamTokens, "g-1/a", flip(len(raw) - 1)},
		"cut":               {keyring.UpstreamTokens, "g-1/a", sealed[:len(sealed)-4]},
		"only an id":        {keyring.UpstreamTokens, "g-1/a", kid},
		"id and a nonce":    {keyring.UpstreamTokens, "g-1/a", sealed[:28]},
		"less than a nonce": {keyring.UpstreamTokens, "g-1/a", sealed[:20]},
		"empty":             {keyring.UpstreamTokens, "g-1/a", ""},
		"padded":            {keyring.UpstreamTokens, "g-1/a", sealed + "="},
		"line break":        {keyring.UpstreamTokens, "g-1/a", sealed[:20] + "\n" + sealed[20:]},
		"trailing break":    {keyring.UpstreamTokens, "g-1/a", sealed + "\r\n"},
		"not base64url":     {keyring.UpstreamTokens, "g-1/a", kid + "+/" + rest[2:]},
		"rubbish":           {keyring.UpstreamTokens, "g-1/a", strings.Repeat("\x00", 80)},
	}
	for name, a := range attempts {
		t.Run(name, func(t *testing.T) {
			got, err := r.Open(t.Context(), a.purpose, []byte(a.ad), a.text)
			// Identity, not errors.Is: an error that said more would be an oracle.
			if err != keyring.ErrNotOurs || got != nil {
				t.Errorf("got %q, %v; want ErrNotOurs itself", got, err)
			}
		})
	}
}

// Nonce, 12 bytes of plaintext and tag are 40 bytes: the last character has
// four unused bits, and only one of its sixteen spellings is a sealed text.
func TestSealedTextHasOneSpelling(t *testing.T) {
	r := newRing(t, newTable(t), masterKey(t, keyA), clocktest.New())
	sealed := seal(t, r, keyring.CodeHandle, "", strings.Repeat("x", 12))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	opened := 0
	for _, last := range alphabet {
		if _, err := r.Open(t.Context(), keyring.CodeHandle, nil, sealed[:len(sealed)-1]+string(last)); err == nil {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("%d spellings open, want 1", opened)
	}
}

// A nonce that came twice under one key would give the key stream away, and let
// anybody forge. Wrapping keys are no exception.
func TestNonceIsNeverTheSame(t *testing.T) {
	r := newRing(t, newTable(t), masterKey(t, keyA), clocktest.New())
	w := masterKey(t, keyA)
	seen := map[string]bool{}
	for range 1000 {
		raw, err := base64.RawURLEncoding.DecodeString(seal(t, r, keyring.CodeHandle, "", "x")[12:])
		if err != nil {
			t.Fatal(err)
		}
		_, wrapped, err := w.Wrap(t.Context(), make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		for _, nonce := range []string{string(raw[:12]), string(wrapped[:12])} {
			if seen[nonce] {
				t.Fatalf("the nonce %x is used again", nonce)
			}
			seen[nonce] = true
		}
	}
}

func TestPlaintextOfAnyLengthIsSealed(t *testing.T) {
	r := newRing(t, newTable(t), masterKey(t, keyA), clocktest.New())
	for _, n := range []int{0, 1, 2, 3, 4000, 32 << 10} {
		plaintext := strings.Repeat("p", n)
		opens(t, r, keyring.Transaction, "ad", seal(t, r, keyring.Transaction, "ad", plaintext), plaintext)
	}
}

func TestSigningKeysDifferByPurposeAndVerifyEverywhere(t *testing.T) {
	c := clocktest.New()
	table := newTable(t)
	r := newRing(t, table, masterKey(t, keyA), c)
	other := newRing(t, table, masterKey(t, keyA), c)
	seen := map[string]bool{}
	for _, p := range []keyring.Purpose{keyring.AccessToken, keyring.ConsentForm, keyring.BrowserBinding} {
		kid, key, err := r.Signing(t.Context(), p)
		if err != nil || len(key) != 32 {
			t.Fatalf("Signing: %d bytes, %v", len(key), err)
		}
		again, err := other.Verifying(t.Context(), p, kid, time.Time{})
		if err != nil || !bytes.Equal(key, again) {
			t.Fatalf("another instance has another key for %s: %v", p, err)
		}
		if seen[string(key)] {
			t.Errorf("the key for %s serves another purpose", p)
		}
		seen[string(key)] = true
	}
	counted := storetest.Instrument(table)
	r = newRing(t, counted, masterKey(t, keyA), c)
	load(t, r)
	read := counted.Count(storetest.List)
	for _, kid := range []string{"", "short", strings.Repeat("A", 500), "AAAAAAAAAAAA"} { // the last could be an id of ours
		if n := counted.Count(storetest.List) - read; n != 0 {
			t.Errorf("%d readings of the ring for what is no id", n)
		}
		if _, err := r.Verifying(t.Context(), keyring.AccessToken, kid, time.Time{}); !errors.Is(err, keyring.ErrNotOurs) {
			t.Errorf("Verifying(%q): %v, want ErrNotOurs", kid, err)
		}
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	w := masterKey(t, keyA)
	r := newRing(t, newTable(t), w, clocktest.New())
	load(t, r)
	_, key, err := r.Signing(t.Context(), keyring.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "ring", r, "wrapper", w)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		_, _ = fmt.Fprintf(&out, verb+verb+"\n", r, w)
		_, _ = fmt.Fprintf(&out, verb+"\n", keyring.Options{Wrapper: w})
	}
	if got := fmt.Sprint(r, " ", w); got != "keyring.Ring "+w.ID() {
		t.Errorf("printed as %s", got)
	}
	for _, name := range []string{"keyring.Ring", w.ID()} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("output does not name %s:\n%s", name, out.String())
		}
	}
	for _, secret := range []string{string(key), fmt.Sprintf("%x", key), "0123456789abcdef0123456789abcdef", keyA,
		fmt.Sprintf("%d", []byte("0123456789abcdef"))} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("output contains key material:\n%s", out.String())
		}
	}
}
