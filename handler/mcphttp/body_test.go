package mcphttp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// TestABodyIsHandedOnAsItCame: cut off, too long or whole.
func TestABodyIsHandedOnAsItCame(t *testing.T) {
	broken := errors.New("connection reset")
	for name, body := range map[string]io.Reader{
		"whole":    strings.NewReader(`{"jsonrpc":"2.0","id":"7","method":"tools/call"}`),
		"cut off":  io.MultiReader(strings.NewReader(`{"id":"7"}`), iotest.ErrReader(broken)),
		"too long": strings.NewReader(`{"id":"7"}` + strings.Repeat(" ", MaxBody)),
		"no JSON":  strings.NewReader("{"),
	} {
		var sent bytes.Buffer
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(io.TeeReader(body, &sent)))
		read := ReadBody(r)
		if m, err := read.Message(); (err == nil) != (name == "whole") || (string(m.ID) == `"7"`) != (name == "whole") {
			t.Errorf("%s: the id is %q, %v", name, m.ID, err)
		}
		if again := ReadBody(r); again != read {
			t.Errorf("%s: it is read again", name)
		}
		got, err := io.ReadAll(r.Body)
		if !bytes.Equal(got, sent.Bytes()) || errors.Is(err, broken) != (name == "cut off") {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), sent.Len(), err)
		}
	}
}
