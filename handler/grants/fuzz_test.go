package grants

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

// Parsing and printing are inverse: no two encodings are the same handle.
func FuzzHandleEncoding(f *testing.F) {
	f.Add(handle{generation: 1, expires: 1}.encode())
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{handleVersion}, handleSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHandle(b)
		if err == nil && !bytes.Equal(h.encode(), b) {
			t.Errorf("%x prints as %x", b, h.encode())
		}
	})
}

// No text but the very one that was issued is worth anything, and that one only
// as what it was issued for.
func FuzzTokens(f *testing.F) {
	i := newInstance(f, newTable(f), newClock().Now)
	ctx := context.Background()
	code := create(f, i.Service)
	tokens := signIn(f, i.Service)
	for _, seed := range []string{code.Reveal(), tokens.Access.Reveal(), tokens.Refresh.Reveal(), "", "a.b.c", code.Reveal() + "=",
		tokens.Access.Reveal() + "\n", tokens.Refresh.Reveal()[:20]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := i.openHandle(ctx, keyring.CodeHandle, text); (err == nil) != (text == code.Reveal()) {
			t.Errorf("as a code: %v", err)
		}
		if _, err := i.openHandle(ctx, keyring.RefreshHandle, text); (err == nil) != (text == tokens.Refresh.Reveal()) {
			t.Errorf("as a refresh token: %v", err)
		}
		if _, err := i.Verify(ctx, text); (err == nil) != (text == tokens.Access.Reveal()) {
			t.Errorf("as an access token: %v", err)
		}
	})
}

// Whatever lies in a row, reading it fails or gives a record that can be written
// and read again.
func FuzzStoredRows(f *testing.F) {
	for _, seed := range []string{
		`{"gen":1,"client":"c","scopes":["openid"],"created":"2026-11-23T12:00:00Z","used":"2026-11-23T12:00:00Z","rotated":"2026-11-23T12:00:00Z"}`,
		`{"v":1,"gen":18446744073709551615,"rotations":[1,2,3],"code":{"redirect":"x","challenge":"y"}}`,
		`{"sub":"s","at":"2026-11-23T12:00:00Z","reason":"r"}`, `{"v":1,"kind":"blocks","at":"2026-11-23T12:00:00Z"}`, `{}`, `null`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := decodeRecord(store.Row{Key: "id", Value: value}, "subject"); err == nil {
			for n := range uint64(20) {
				r.rotatedAt(r.Generation - n)
			}
			next := r.advanced(time.Unix(1_800_000_000, 0).UTC())
			if len(next.Rotations) > maxRotations {
				t.Fatalf("%d rotations", len(next.Rotations))
			}
			if at, ok := next.rotatedAt(next.Generation - 1); next.Generation > 0 && (!ok || at.Unix() != 1_800_000_000) {
				t.Fatalf("the generation that just ended did so at %s, %t", at, ok)
			}
			row, err := next.row()
			if err != nil {
				return // a time outside of what JSON can hold
			}
			again, err := decodeRecord(row, "subject")
			if err != nil || again.Generation != next.Generation || again.ClientID != next.ClientID || !slices.Equal(again.Rotations, next.Rotations) {
				t.Fatalf("%+v, %v; was %+v", again, err, next)
			}
		}
		if v, err := decodeAnnouncement(store.Row{Partition: "r-2026112312", Value: value}); err == nil {
			_, _ = v.row(v.At)
		}
		_, _ = decodeUserData(value)
	})
}
