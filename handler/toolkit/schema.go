package toolkit

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// inputSchema is the schema of In with the values of default tags. The SDK
// fills them in before a call.
func inputSchema[In any]() (*jsonschema.Schema, error) {
	typ := reflect.TypeFor[In]()
	if typ.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is no struct", typ)
	}
	schema, err := jsonschema.For[In](nil)
	if err != nil {
		return nil, err
	}
	for _, field := range reflect.VisibleFields(typ) {
		text, ok := field.Tag.Lookup("default")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		property, ok := schema.Properties[name]
		if !ok {
			return nil, fmt.Errorf("%s has a default but is no argument", field.Name)
		}
		if property.Default, err = defaultValue(text, field.Type); err != nil {
			return nil, fmt.Errorf("the default of %s: %w", field.Name, err)
		}
		schema.Required = slices.DeleteFunc(schema.Required, func(s string) bool { return s == name })
	}
	_, err = schema.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	return schema, err
}

// defaultValue is the tag as JSON; a string needs no quotes in it.
func defaultValue(text string, typ reflect.Type) (json.RawMessage, error) {
	if typ.Kind() == reflect.String {
		return json.Marshal(text)
	}
	if err := json.Unmarshal([]byte(text), reflect.New(typ).Interface()); err != nil {
		return nil, err
	}
	return json.RawMessage(text), nil
}

// shape is how a tool's result goes onto the wire.
type shape struct {
	schema *jsonschema.Schema // nil: the tool shapes its own result
	wrap   bool
}

// shapeOf wraps what is no object as {"result": …}, as FastMCP does and marks
// in the schema: structuredContent was an object in every revision until
// 2026-07-28, and clients written for FastMCP servers unwrap it.
func shapeOf[Out any]() (shape, error) {
	typ := reflect.TypeFor[Out]()
	if typ == reflect.TypeFor[*mcp.CallToolResult]() {
		return shape{}, nil
	}
	schema, err := jsonschema.For[Out](nil)
	if err != nil {
		return shape{}, err
	}
	if schema.Type == "object" {
		return shape{schema: schema}, nil
	}
	return shape{wrap: true, schema: &jsonschema.Schema{
		Type:       "object",
		Properties: map[string]*jsonschema.Schema{"result": schema},
		Required:   []string{"result"},
		Extra:      map[string]any{"x-fastmcp-wrap-result": true},
	}}, nil
}

func (s shape) answer(value any) (*mcp.CallToolResult, any) {
	if s.schema == nil {
		result, _ := value.(*mcp.CallToolResult)
		return result, nil
	}
	if !s.wrap {
		return nil, value
	}
	text, ok := value.(string)
	if !ok {
		encoded, err := json.Marshal(value)
		if err != nil {
			panic(err) // the schema was made from the type; its value is the tool's fault
		}
		text = string(encoded)
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, map[string]any{"result": value}
}
