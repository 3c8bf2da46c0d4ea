package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Tool is a tool with its rules. Define makes one.
type Tool struct {
	definition
	arguments *shape
	input     *schema
	output    *schema // nil: the tool makes its own result
	call      func(ctx context.Context, caller *Caller, arguments json.RawMessage) (*mcp.CallToolResult, error)
}

// Define makes a tool of a function.
//
// In is a struct. The tag json names an argument, jsonschema describes it, default
// gives its value if it is left out. Of the tags enum ("a,b"), minimum, maximum,
// minLength, maxLength, minItems, maxItems, pattern, format and examples ("a,b"), all
// are enforced before call runs; constraints that some models refuse in a schema are
// in the description instead. A string has at most 65,536 characters unless maxLength
// says otherwise. Pointers and omitempty make an argument optional.
//
// Out is any type that encodes as JSON, or a Result of one, to send images, audio,
// links and resources too. A result that is not an object is sent as {"result": …}, a string
// also as plain text. Out may be *mcp.CallToolResult, for what has no schema.
//
// The text of an error that call returns is shown to the user and the model. Use Fail
// if they must not see the cause, and *jsonrpc.Error if the call itself is wrong and
// MCP has a code for it. Define panics if the tool cannot work, and names the field.
func Define[In, Out any](name, description string, call func(ctx context.Context, caller *Caller, in In) (Out, error), rules ...Rule) Tool {
	t := Tool{definition: define(tool, name, description, rules)}
	var err error
	if t.arguments, err = argumentsOf(reflect.TypeFor[In]()); err != nil {
		t.refuse("the arguments: %v", err)
	}
	t.input = t.arguments.published()
	encode, output, err := encoder[Out]()
	if err != nil {
		t.refuse("the result: %v", err)
	}
	t.output = output
	t.call = func(ctx context.Context, caller *Caller, arguments json.RawMessage) (*mcp.CallToolResult, error) {
		var in In
		if err := json.Unmarshal(arguments, &in); err != nil {
			return nil, Fail("The arguments do not fit: "+err.Error(), nil)
		}
		out, err := call(ctx, caller, in)
		if err != nil {
			return nil, err
		}
		return encode(out)
	}
	return t
}

// Result is what a tool returns that answers with more than data.
type Result[T any] struct {
	// Value is the structured result; its type makes the output schema.
	Value T
	// Content follows the text form of Value: images, audio, links and embedded
	// resources (*mcp.ImageContent and so on).
	Content []mcp.Content
}

func (r Result[T]) parts() (reflect.Type, any, []mcp.Content) {
	return reflect.TypeFor[T](), r.Value, r.Content
}

type parts interface {
	parts() (reflect.Type, any, []mcp.Content)
}

// encoder makes results of Out.
//
// A result that is not an object is wrapped as {"result": …}, as FastMCP does and marks in the
// schema: structuredContent was an object in every revision until 2026-07-28, and
// clients written for FastMCP servers unwrap it.
func encoder[Out any]() (func(Out) (*mcp.CallToolResult, error), *schema, error) {
	typ := reflect.TypeFor[Out]()
	if typ == reflect.TypeFor[*mcp.CallToolResult]() {
		return func(out Out) (*mcp.CallToolResult, error) {
			result, _ := any(out).(*mcp.CallToolResult)
			if result == nil {
				return nil, errors.New("the tool returned no result")
			}
			return result, nil
		}, nil, nil
	}
	split := func(out Out) (any, []mcp.Content) { return out, nil }
	var zero Out
	if p, ok := any(zero).(parts); ok {
		typ, _, _ = p.parts()
		split = func(out Out) (any, []mcp.Content) {
			_, value, content := any(out).(parts).parts()
			return value, content
		}
	}
	form, err := resultOf(typ)
	if err != nil {
		return nil, nil, err
	}
	published := form.published()
	wrapped := form.kind != "object"
	if wrapped {
		published = &schema{
			Type: "object", Properties: &properties{{"result", published}}, Required: []string{"result"}, WrapsResult: true,
		}
	}
	return func(out Out) (*mcp.CallToolResult, error) {
		value, content := split(out)
		text, isText := value.(string)
		raw := json.RawMessage(nil)
		if isText {
			raw = wrappedText(text)
		} else {
			data, err := form.encode(value)
			if err != nil {
				return nil, fmt.Errorf("encode the result: %w", err)
			}
			if raw, text = data, string(data); wrapped {
				raw = slices.Concat([]byte(`{"result":`), data, []byte{'}'})
			}
		}
		return &mcp.CallToolResult{
			Content:           append([]mcp.Content{&mcp.TextContent{Text: text}}, content...),
			StructuredContent: raw,
		}, nil
	}, published, nil
}
