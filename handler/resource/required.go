package resource

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"entramcp/handler/oauth"
)

// firstHeaders is the first revision that names method and tool in headers. The
// SDK refuses requests of that and later revisions whose headers and body
// disagree; earlier clients send such headers too, but nobody checks them.
const firstHeaders = "2026-07-28"

// maxPeek is how much of a body is looked at, in bytes: the SDK takes no more.
const maxPeek = 4 << 20

// required is what the request needs, and the body to hand on. A body that
// cannot be read or understood needs nothing here, for the SDK will refuse it;
// should the two ever disagree, tools check their scopes themselves.
func (g *Guard) required(r *http.Request) (oauth.Scopes, io.ReadCloser) {
	if r.Method != http.MethodPost {
		return g.baseline, r.Body
	}
	if r.Header.Get("Mcp-Protocol-Version") >= firstHeaders {
		return g.baseline.Union(g.scopesFor(r.Header.Get("Mcp-Method"), r.Header.Get("Mcp-Name"))), r.Body
	}
	read, err := io.ReadAll(io.LimitReader(r.Body, maxPeek+1))
	body := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), r.Body), r.Body}
	if err != nil {
		body.Reader = io.MultiReader(bytes.NewReader(read), failed{err})
		return g.baseline, body
	}
	scopes := g.baseline
	for _, message := range messages(read) {
		scopes = scopes.Union(g.scopesFor(called(message)))
	}
	return scopes, body
}

// messages splits a batch, which revision 2025-03-26 allows.
func messages(body []byte) []json.RawMessage {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		var batch []json.RawMessage
		if json.Unmarshal(body, &batch) != nil {
			return nil
		}
		return batch
	}
	return []json.RawMessage{body}
}

// called reads method and tool as the SDK does: names are case-sensitive.
func called(message json.RawMessage) (method, tool string) {
	decoded, err := jsonrpc.DecodeMessage(message)
	if err != nil {
		return "", ""
	}
	request, ok := decoded.(*jsonrpc.Request)
	if !ok {
		return "", ""
	}
	if request.Method == "tools/call" {
		var params map[string]json.RawMessage
		if json.Unmarshal(request.Params, &params) == nil {
			_ = json.Unmarshal(params["name"], &tool)
		}
	}
	return request.Method, tool
}

// failed repeats a read error to whoever reads on.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
