package mcphttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	sdkjson "github.com/segmentio/encoding/json"
)

// MaxBody is the largest body of a request, in bytes.
const MaxBody = 4 << 20

// presized is the most that is allocated for a body because its Content-Length says
// so, before any of it has been read, in bytes.
const presized = 16 << 10

// Body is that of a request, read once for all layers that look at it before the SDK
// does. Every further reader of the request gets the same bytes, or the same error.
type Body struct {
	unread bytes.Reader
	bytes  []byte
	rest   io.Reader // what follows bytes; nil if that is all
	io.Closer

	parsed  bool
	message Message
	err     error // of message
}

// FirstHeaders is the first revision that names method and tool in headers. The SDK
// refuses requests of that and later revisions whose headers and body disagree;
// earlier clients send such headers too, but nobody checks them.
const FirstHeaders = "2026-07-28"

// ReadBody reads the body of a POST and puts it back, unless its headers say what it
// asks for: then it returns nil. Called again, it returns what it has read.
func ReadBody(r *http.Request) *Body {
	if r.Method != http.MethodPost || r.Header.Get("Mcp-Protocol-Version") >= FirstHeaders {
		return nil
	}
	if b, ok := r.Body.(*Body); ok {
		return b
	}
	var read bytes.Buffer
	read.Grow(int(min(max(r.ContentLength, 0), presized)) + bytes.MinRead)
	_, err := read.ReadFrom(io.LimitReader(r.Body, MaxBody+1))
	b := &Body{bytes: read.Bytes(), Closer: r.Body}
	b.unread.Reset(b.bytes)
	switch {
	case err != nil:
		b.rest = failingReader{err}
	case len(b.bytes) > MaxBody:
		b.rest = r.Body
	}
	r.Body = b
	return b
}

// Read gives the bytes as if nobody had read them.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.unread.Read(p)
	if err != nil && b.rest != nil {
		return b.rest.Read(p)
	}
	return n, err
}

// failingReader returns a read error again to every further read.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// Whole is all of the body, or false where it breaks off or is larger than MaxBody.
func (b *Body) Whole() ([]byte, bool) { return b.bytes, b.rest == nil }

// Batch reports whether the body is an array of messages.
func (b *Body) Batch() bool { return bytes.HasPrefix(b.value(), []byte("[")) }

func (b *Body) value() []byte { return bytes.TrimLeft(b.bytes, " \t\r\n") }

// Message is a JSON-RPC message as far as it is looked at before the SDK reads it.
// ID and Params are as they were written, or empty.
type Message struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
}

// ParseMessage reads one message.
func ParseMessage(data []byte) (Message, error) {
	var raw struct {
		ID     json.RawMessage `json:"id"`
		Method json.RawMessage `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := Decode(data, &raw); err != nil {
		return Message{}, err
	}
	m := Message{ID: raw.ID, Params: raw.Params}
	err := Decode(raw.Method, &m.Method)
	return m, err
}

// Message is that of the body. A batch has none, nor has a body that is not whole.
func (b *Body) Message() (Message, error) {
	if !b.parsed {
		b.parsed = true
		if b.err = errNotWhole; b.rest == nil {
			b.message, b.err = ParseMessage(b.value())
		}
	}
	return b.message, b.err
}

var (
	errNotWhole = errors.New("mcphttp: the body is not whole")
	errNull     = errors.New("mcphttp: null")
)

// Decode reads the first value of data with the SDK's decoder and its rules: names
// are case-sensitive, the last of two members of one name counts, what follows the
// first value is ignored. Whoever looks at a message before the SDK does must not
// understand it in another way. It leaves v as it is if there is no value, and takes
// no null: to the SDK a null after another member of that name leaves the first one
// standing.
func Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	if string(data) == "null" {
		return errNull
	}
	in := sdkjson.NewDecoder(bytes.NewReader(data))
	in.DontMatchCaseInsensitiveStructFields()
	return in.Decode(v)
}
