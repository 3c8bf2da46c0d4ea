package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"entramcp/handler/mcphttp"
)

var (
	errNotJSONRPC = errors.New("resource: the body is not a JSON-RPC message")
	errLongBatch  = errors.New("resource: the batch is too long")
)

// callsOf are the calls that the request makes. It fails with errNotJSONRPC for a
// body it cannot read (the SDK's parser is more lenient, and what the guard does
// not understand it does not let through) and with errLongBatch. A body that is
// too large or breaks off is left as it is, for the SDK to refuse.
func callsOf(r *http.Request) ([]call, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	body := mcphttp.ReadBody(r)
	if body == nil {
		return []call{{r.Header.Get("Mcp-Method"), r.Header.Get("Mcp-Name")}}, nil
	}
	text, whole := body.Whole()
	if !whole {
		return nil, nil
	}
	if !body.Batch() {
		c, err := callOf(body.Message())
		return []call{c}, err
	}
	messages, err := batch(text)
	if err != nil {
		return nil, err
	}
	out := make([]call, len(messages))
	for i, raw := range messages {
		if out[i], err = callOf(mcphttp.ParseMessage(raw)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxBatch is how many messages a batch may have. What limits requests, such as
// the platform's concurrency, counts a batch as one, and a body of the largest
// size has room for 50,000 calls.
const maxBatch = 100

// call is what one JSON-RPC message asks for. Both are empty for a response.
type call struct{ method, name string }

// callOf is that of a message which was read with err.
func callOf(m mcphttp.Message, err error) (call, error) {
	if err != nil {
		return call{}, errNotJSONRPC
	}
	c := call{method: m.Method}
	var params struct {
		Name json.RawMessage `json:"name"`
		URI  json.RawMessage `json:"uri"`
	}
	switch c.method {
	case "tools/call", "prompts/get":
		if mcphttp.Decode(m.Params, &params) != nil || mcphttp.Decode(params.Name, &c.name) != nil {
			return call{}, errNotJSONRPC
		}
	case "resources/read":
		if mcphttp.Decode(m.Params, &params) != nil || mcphttp.Decode(params.URI, &c.name) != nil {
			return call{}, errNotJSONRPC
		}
	}
	return c, nil
}

// batch reads an array message by message, so that one that is too long takes
// no more memory than one that is not.
func batch(body []byte) (messages []json.RawMessage, err error) {
	in := json.NewDecoder(bytes.NewReader(body))
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
