package resource

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/segmentio/encoding/json"
)

var (
	errNotJSONRPC = errors.New("resource: the body is not a JSON-RPC message")
	errLongBatch  = errors.New("resource: the batch is too long")
)

// firstHeaders is the first revision that names method and tool in headers. The
// SDK refuses requests of that and later revisions whose headers and body
// disagree; earlier clients send such headers too, but nobody checks them.
const firstHeaders = "2026-07-28"

// maxPeek is how much of a body is looked at, in bytes: the SDK takes no more.
const maxPeek = 4 << 20

// callsOf are the calls that the request makes. It fails with errNotJSONRPC for a
// body it cannot read (the SDK's parser is more lenient, and what the guard does
// not understand it does not let through) and with errLongBatch. A body that is
// too large or breaks off is left as it is, for the SDK to refuse. What was read
// of the body is put back, and GetBody gives it again.
func callsOf(r *http.Request) ([]call, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	if r.Header.Get("Mcp-Protocol-Version") >= firstHeaders {
		return []call{{r.Header.Get("Mcp-Method"), r.Header.Get("Mcp-Name")}}, nil
	}
	read, err := io.ReadAll(io.LimitReader(r.Body, maxPeek+1))
	if err != nil {
		r.Body = putBack(read, failingReader{err}, r.Body)
		return nil, nil
	}
	r.Body = putBack(read, r.Body, r.Body)
	if len(read) > maxPeek {
		return nil, nil
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(read)), nil }
	return parseCalls(read)
}

// putBack is a body that begins with what was read already.
func putBack(read []byte, rest io.Reader, closer io.Closer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), rest), closer}
}

// failingReader returns a read error again to every further read.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// maxBatch is how many messages a batch may have. What limits requests, such as
// the platform's concurrency, counts a batch as one, and a body of the largest
// size has room for 50,000 calls.
const maxBatch = 100

// call is what one JSON-RPC message asks for. Both are empty for a response.
type call struct{ method, name string }

// message and its params are read by the SDK's decoder, with its rules: names are
// case-sensitive, the last of two members of one name counts, what follows the
// first value is ignored. The two must not understand one body in two ways.
type message struct {
	Method stdjson.RawMessage `json:"method"`
	Params stdjson.RawMessage `json:"params"`
}

// parseCalls reads a message, or a batch of them, which revision 2025-03-26 allows.
func parseCalls(body []byte) ([]call, error) {
	if body = bytes.TrimLeft(body, " \t\r\n"); !bytes.HasPrefix(body, []byte("[")) {
		c, err := parseCall(body)
		return []call{c}, err
	}
	messages, err := batch(body)
	if err != nil {
		return nil, err
	}
	out := make([]call, len(messages))
	for i, m := range messages {
		if out[i], err = parseCall(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func parseCall(body []byte) (c call, err error) {
	var m message
	if decode(body, &m) != nil || decode(m.Method, &c.method) != nil {
		return call{}, errNotJSONRPC
	}
	var params struct {
		Name stdjson.RawMessage `json:"name"`
		URI  stdjson.RawMessage `json:"uri"`
	}
	switch c.method {
	case "tools/call", "prompts/get":
		if decode(m.Params, &params) != nil || decode(params.Name, &c.name) != nil {
			return call{}, errNotJSONRPC
		}
	case "resources/read":
		if decode(m.Params, &params) != nil || decode(params.URI, &c.name) != nil {
			return call{}, errNotJSONRPC
		}
	}
	return c, nil
}

// batch reads an array message by message, so that one that is too long takes
// no more memory than one that is not.
func batch(body []byte) (messages []stdjson.RawMessage, err error) {
	in := stdjson.NewDecoder(bytes.NewReader(body))
	_, err = in.Token()
	for err == nil && in.More() {
		if len(messages) == maxBatch {
			return nil, errLongBatch
		}
		messages = append(messages, nil)
		err = in.Decode(&messages[len(messages)-1])
	}
	if err == nil {
		_, err = in.Token()
	}
	if err != nil {
		return nil, errNotJSONRPC
	}
	return messages, nil
}

// decode reads the first value as the SDK does, and leaves v as it is if there is
// none. It takes no null: to the SDK a null after another member of that name
// leaves the first one standing.
func decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	if string(data) == "null" {
		return errNotJSONRPC
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DontMatchCaseInsensitiveStructFields()
	return in.Decode(v)
}
