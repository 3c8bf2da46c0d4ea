package grants

import (
	"bytes"
	"context"
	"testing"

	"entramcp/handler/keyring"
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
