package resource

import (
	"bytes"
	"encoding/json"
	"errors"
)

var (
	errNoJSON    = errors.New("resource: the body is no JSON-RPC message")
	errLongBatch = errors.New("resource: the batch is too long")
)

// maxBatch is how many messages a batch may have. What limits requests, such as
// the platform's concurrency, counts a batch as one, and a body of the largest
// size has room for 50,000 calls.
const maxBatch = 100

// call is what one JSON-RPC message asks for. Both are empty for a response.
type call struct{ method, tool string }

// calls reads a message, or a batch of them, which revision 2025-03-26 allows,
// with the SDK's eyes: what follows the first JSON value is ignored, names are
// case-sensitive, and of two members of one name the last one counts.
func calls(body []byte) ([]call, error) {
	messages := make([]object, 1)
	if body = bytes.TrimLeft(body, " \t\r\n"); len(body) > 0 && body[0] == '[' {
		var err error
		if messages, err = batch(body); err != nil {
			return nil, err
		}
	} else if !decode(body, &messages[0]) {
		return nil, errNoJSON
	}
	out := make([]call, len(messages))
	for i, message := range messages {
		if !decode(message["method"], &out[i].method) {
			return nil, errNoJSON
		}
		if out[i].method != "tools/call" {
			continue
		}
		var params object
		if !decode(message["params"], &params) || !decode(params["name"], &out[i].tool) {
			return nil, errNoJSON
		}
	}
	return out, nil
}

// batch reads an array message by message, so that one that is too long takes
// no more memory than one that is not.
func batch(body []byte) (messages []object, err error) {
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
		return nil, errNoJSON
	}
	return messages, nil
}

// object is a map because encoding/json ignores case in names of fields.
type object map[string]json.RawMessage

// decode leaves v as it is if there is no value. It takes no null: to the SDK a
// null after another member of that name leaves the first one standing.
func decode(data []byte, v any) bool {
	return len(data) == 0 || string(data) != "null" && json.NewDecoder(bytes.NewReader(data)).Decode(v) == nil
}
