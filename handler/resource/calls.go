package resource

import (
	"bytes"
	"encoding/json"
	"errors"
)

var errNoJSON = errors.New("resource: the body is no JSON-RPC message")

// call is what one JSON-RPC message asks for. Both are empty for a response.
type call struct{ method, tool string }

// calls reads a message, or a batch of them, which revision 2025-03-26 allows,
// with the SDK's eyes: what follows the first JSON value is ignored, names are
// case-sensitive, and of two members of one name the last one counts.
func calls(body []byte) ([]call, error) {
	var messages []object
	if body = bytes.TrimLeft(body, " \t\r\n"); len(body) > 0 && body[0] == '[' {
		if !decode(body, &messages) {
			return nil, errNoJSON
		}
	} else {
		messages = make([]object, 1)
		if !decode(body, &messages[0]) {
			return nil, errNoJSON
		}
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

// object is a map because encoding/json ignores case in names of fields.
type object map[string]json.RawMessage

// decode leaves v as it is if there is no value. It takes no null: to the SDK a
// null after another member of that name leaves the first one standing.
func decode(data []byte, v any) bool {
	return len(data) == 0 || string(data) != "null" && json.NewDecoder(bytes.NewReader(data)).Decode(v) == nil
}
