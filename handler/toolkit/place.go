package toolkit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"reflect"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/mcphttp"
)

// placing encodes what is large before the SDK does, once; see mcphttp.Place. It
// stands around all other middleware, so that what it encodes is what goes out.
func (s *Server) placing(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		growStack(0)
		result, err := next(ctx, method, req)
		place, ok := mcphttp.PlaceIn(ctx)
		if err != nil || !ok {
			return result, err
		}
		switch r := result.(type) {
		case *mcp.CallToolResult:
			if r != nil {
				return &placedCall{r, place}, nil
			}
		case *mcp.ListToolsResult:
			if r != nil {
				return &placedTools{r, place, &s.lists}, nil
			}
		}
		return result, err
	}
}

// growStack has the runtime grow the stack to what a call needs, once. The SDK
// runs each call on a goroutine of its own, whose small stack the runtime would
// otherwise double and copy several times on the way to the tool.
//
//go:noinline
func growStack(i int) byte {
	var frame [12 << 10]byte
	return frame[i]
}

// placedCall is a result that the SDK may still add to before it encodes it.
type placedCall struct {
	*mcp.CallToolResult
	place mcphttp.Place
}

// MarshalJSON leaves all but texts and data to the SDK.
func (p *placedCall) MarshalJSON() ([]byte, error) {
	raw, err := encodeCall(p.CallToolResult)
	if err != nil {
		return nil, err
	}
	return p.place.Put(raw), nil
}

// standIn is a text that nobody else can have written, and nobody sees.
var standIn = rand.Text()

// The SDK's form of what stands in for the content of a call and for tools.
var (
	contentStandIn = encodedOr(&mcp.TextContent{Text: standIn})
	toolStandIn    = encodedOr(&mcp.Tool{Name: standIn})
)

func encodedOr(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // neither holds anything that cannot be encoded as JSON
	}
	return raw
}

// anyText is what encoding/json takes for valid.
var anyText = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// encodeCall is result as the SDK encodes it. The texts and the data that this
// package makes are written directly.
func encodeCall(result *mcp.CallToolResult) ([]byte, error) {
	data, isRaw := result.StructuredContent.(json.RawMessage)
	if result.StructuredContent != nil && (!isRaw || !jsontext.Value(data).IsValid(anyText...)) {
		return json.Marshal(result) // which refuses what is not valid
	}
	size := len(data) + 64
	for _, c := range result.Content {
		text, ok := c.(*mcp.TextContent)
		if !ok || text == nil || text.Meta != nil || text.Annotations != nil {
			return json.Marshal(result)
		}
		size += len(text.Text) + len(text.Text)/8 + 32
	}
	before, after := []byte(`{"content":[`), []byte(`}`)
	if !onlyContent(result) {
		rest := *result
		rest.Content, rest.StructuredContent = []mcp.Content{&mcp.TextContent{Text: standIn}}, nil
		raw, _ := json.Marshal(&rest) // nothing is found in what cannot be encoded
		var found bool
		if before, after, found = bytes.Cut(raw, slices.Concat(contentStandIn, []byte{']'})); !found {
			return json.Marshal(result)
		}
	}
	out := append(make([]byte, 0, size+len(before)+len(after)), before...)
	for i, c := range result.Content {
		if i > 0 {
			out = append(out, ',')
		}
		text, _ := c.(*mcp.TextContent) // all are
		out = append(out, `{"type":"text","text":`...)
		out, _ = jsontext.AppendQuote(out, text.Text) // invalid UTF-8 is replaced
		out = append(out, '}')
	}
	out = append(out, ']')
	if isRaw {
		out = append(append(out, `,"structuredContent":`...), data...)
	}
	return append(out, after...), nil
}

// onlyContent reports whether result has nothing beyond its content, whatever
// fields the SDK has given it.
func onlyContent(result *mcp.CallToolResult) bool {
	v := reflect.ValueOf(result).Elem()
	return !slices.ContainsFunc(beyondContent, func(i int) bool { return !v.Field(i).IsZero() })
}

// beyondContent are the fields that encodeCall does not write, but for that of
// the error, which nobody writes.
var beyondContent = func() (fields []int) {
	t := reflect.TypeFor[mcp.CallToolResult]()
	for i := range t.NumField() {
		if name := t.Field(i).Name; name != "Content" && name != "StructuredContent" && name != "err" {
			fields = append(fields, i)
		}
	}
	return fields
}()

type placedTools struct {
	*mcp.ListToolsResult
	place mcphttp.Place
	lists *encodedLists
}

// MarshalJSON leaves all but the tools to the SDK.
func (p *placedTools) MarshalJSON() ([]byte, error) {
	tools, err := p.lists.of(p.Tools)
	if err != nil {
		return nil, err
	}
	rest := *p.ListToolsResult
	rest.Tools = []*mcp.Tool{{Name: standIn}}
	raw, _ := json.Marshal(&rest) // nothing is found in what cannot be encoded
	before, after, found := bytes.Cut(raw, slices.Concat([]byte{'['}, toolStandIn, []byte{']'}))
	if !found {
		return json.Marshal(p.ListToolsResult)
	}
	return slices.Concat(before, p.place.Put(tools), after), nil
}

// encodedLists keeps lists of tools as JSON: there are as many as callers see
// different ones, by their scopes and roles. A list is known by its tools, which
// nobody changes once the server serves; another tool is another list.
type encodedLists struct {
	mu   sync.Mutex
	kept []encodedList
}

type encodedList struct {
	tools []*mcp.Tool
	raw   []byte
}

// keptLists bounds them.
const keptLists = 32

func (l *encodedLists) of(tools []*mcp.Tool) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.kept {
		if slices.Equal(known.tools, tools) {
			return known.raw, nil
		}
	}
	if tools == nil {
		tools = []*mcp.Tool{} // null is no list
	}
	raw, err := json.Marshal(tools)
	if err != nil {
		return nil, err
	}
	if len(l.kept) == keptLists {
		l.kept = l.kept[:0]
	}
	l.kept = append(l.kept, encodedList{slices.Clone(tools), raw})
	return raw, nil
}
