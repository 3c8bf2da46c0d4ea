package resource

import (
	"bytes"
	"io"
	"net/http"

	"entramcp/handler/oauth"
)

// firstHeaders is the first revision that names method and tool in headers. The
// SDK refuses requests of that and later revisions whose headers and body
// disagree; earlier clients send such headers too, but nobody checks them.
const firstHeaders = "2026-07-28"

// maxPeek is how much of a body is looked at, in bytes: the SDK takes no more.
const maxPeek = 4 << 20

// required is what the request needs, and the body to hand on. It fails with
// errNoJSON for a body it cannot read (the SDK's parser is more lenient, and what
// the guard does not understand it does not let through) and with errLongBatch. A
// body that is too large or breaks off is handed on as it is, for the SDK to
// refuse.
func (g *Guard) required(r *http.Request) (oauth.Scopes, io.ReadCloser, error) {
	if r.Method != http.MethodPost {
		return g.baseline, r.Body, nil
	}
	if r.Header.Get("Mcp-Protocol-Version") >= firstHeaders {
		return g.baseline.Union(g.scopesFor(r.Header.Get("Mcp-Method"), r.Header.Get("Mcp-Name"))), r.Body, nil
	}
	read, err := io.ReadAll(io.LimitReader(r.Body, maxPeek+1))
	if err != nil {
		return g.baseline, again(read, failed{err}, r.Body), nil
	}
	body := again(read, r.Body, r.Body)
	if len(read) == 0 || len(read) > maxPeek {
		return g.baseline, body, nil
	}
	calls, err := calls(read)
	if err != nil {
		return nil, nil, err
	}
	scopes := g.baseline
	for _, c := range calls {
		scopes = scopes.Union(g.scopesFor(c.method, c.tool))
	}
	return scopes, body, nil
}

// again is a body that begins with what was read already.
func again(read []byte, rest io.Reader, closer io.Closer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), rest), closer}
}

// failed repeats a read error to whoever reads on.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
