package toolkit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// vendor is a vendor of models or of clients, and which parts of JSON Schema it
// accepts in the schema of a tool's arguments.
type vendor struct {
	name string
	// refuses are keywords that fail the request, or the whole list of tools,
	// in some version that people use.
	refuses []string
	// formats are the values of "format" that it accepts; nil means all.
	formats []string
	// why is the source of that.
	why string
}

// vendors decide what is published: a keyword that one of them refuses is enforced
// and described in words, but not part of a schema. What all of them accept is in
// keywords.
var vendors = []vendor{
	{
		name:    "OpenAI",
		refuses: []string{"oneOf", "allOf", "not", "$ref", "$defs", "if", "patternProperties", "const", "examples", "nullable"},
		why:     "an object needs properties; github/copilot-cli#1825, Azure/azure-mcp#197",
	},
	{
		name:    "Anthropic",
		refuses: []string{"oneOf", "anyOf", "allOf", "$ref", "$defs"},
		why:     "no composition at the root; Claude Code truncates arguments of nullable types, caido-mcp-server#34",
	},
	{
		name:    "Gemini",
		refuses: []string{"oneOf", "allOf", "not", "$ref", "$defs", "$schema", "const", "examples", "title", "pattern", "patternProperties", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "contentEncoding", "uniqueItems"},
		formats: []string{"date-time"},
		why:     "a subset of OpenAPI 3.0, one type for each value; gemini-cli#21094, gemini-cli#23382, copilot-cli#4623, promptfoo#6902",
	},
	{
		name:    "Copilot",
		refuses: []string{"$ref", "$defs", "oneOf", "anyOf", "allOf", "not"},
		why:     "arrays need items, booleans are no schemas; vscode#246119, vscode#284536, copilot-cli#4623",
	},
}

// keywords are those that every vendor accepts, in one form: type is one string, enum
// lists strings, additionalProperties is false.
var keywords = []string{
	"type", "description", "properties", "required", "items", "enum", "additionalProperties", "default",
	"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "format",
}

// taken reports whether every vendor accepts the keyword and, for format, the value.
func taken(keyword, format string) bool {
	return slices.Contains(keywords, keyword) && !slices.ContainsFunc(vendors, func(v vendor) bool {
		return slices.Contains(v.refuses, keyword) || keyword == "format" && v.formats != nil && !slices.Contains(v.formats, format)
	})
}

// schema is a JSON Schema as it is published.
type schema struct {
	Type                 string          `json:"type,omitempty"`
	Description          string          `json:"description,omitempty"`
	Properties           *properties     `json:"properties,omitempty"`
	Required             []string        `json:"required,omitempty"`
	AdditionalProperties any             `json:"additionalProperties,omitempty"` // false or a *schema
	Items                *schema         `json:"items,omitempty"`
	Enum                 []string        `json:"enum,omitempty"`
	Default              json.RawMessage `json:"default,omitempty"`
	Minimum              *float64        `json:"minimum,omitempty"`
	Maximum              *float64        `json:"maximum,omitempty"`
	MinLength            *int            `json:"minLength,omitempty"`
	MaxLength            *int            `json:"maxLength,omitempty"`
	MinItems             *int            `json:"minItems,omitempty"`
	MaxItems             *int            `json:"maxItems,omitempty"`
	Format               string          `json:"format,omitempty"`
	// WrapsResult marks results that are not objects; see Define.
	WrapsResult bool `json:"x-fastmcp-wrap-result,omitempty"`
}

// properties keep the order of the Go struct: models read it.
type properties []property

type property struct {
	name string
	*schema
}

// MarshalJSON writes an object, {} if there are none: OpenAI and Copilot refuse a
// schema without properties.
func (p properties) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, property := range p {
		if i > 0 {
			out = append(out, ',')
		}
		name, _ := json.Marshal(property.name) // a string always encodes
		value, err := json.Marshal(property.schema)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// published is the shape as a schema for models. The constraints that it leaves
// out are in the description.
func (s *shape) published() *schema {
	out := &schema{
		Type: s.kind, Description: s.described(), Enum: s.enum, Default: s.fallback,
		Minimum: s.minimum, Maximum: s.maximum, MinLength: s.minLength, MaxLength: s.maxLength,
		MinItems: s.minItems, MaxItems: s.maxItems,
	}
	if taken("format", s.format) {
		out.Format = s.format
	}
	switch {
	case s.items != nil:
		out.Items = s.items.published()
	case s.values != nil:
		out.AdditionalProperties = s.values.published()
	case s.kind == "object":
		out.Properties, out.AdditionalProperties = &properties{}, false
		for _, f := range s.members {
			*out.Properties = append(*out.Properties, property{f.name, f.published()})
			if f.required {
				out.Required = append(out.Required, f.name)
			}
		}
	}
	return out
}

// described is the description with the constraints that are not published.
func (s *shape) described() string {
	parts := []string{s.description}
	if s.pattern != nil && !taken("pattern", "") {
		parts = append(parts, "Must match the regular expression "+s.pattern.String()+".")
	}
	if s.format != "" && !taken("format", s.format) {
		parts = append(parts, "Format: "+s.format+".")
	}
	if len(s.examples) > 0 && !taken("examples", "") {
		parts = append(parts, "For example "+strings.Join(s.examples, ", ")+".")
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// Portable reports what some vendor's models or clients refuse in the schema of a
// tool's arguments. They refuse nothing in the schemas of Define.
func Portable(schema any) error {
	raw, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	var root map[string]any
	if err := json.Unmarshal(raw, &root); err != nil {
		return fmt.Errorf("the schema is not an object: %s", raw)
	}
	if root["type"] != "object" {
		return fmt.Errorf("the root is of type %v, not object", root["type"])
	}
	return portable(root, "the arguments")
}

func portable(schema map[string]any, path string) error {
	for keyword, value := range schema {
		format, _ := schema["format"].(string)
		if !taken(keyword, format) {
			var by []string
			for _, v := range vendors {
				if slices.Contains(v.refuses, keyword) || keyword == "format" && v.formats != nil {
					by = append(by, v.name)
				}
			}
			return fmt.Errorf("%s: not everyone takes %q %v", path, keyword, by)
		}
		if err := portableForm(keyword, value, path); err != nil {
			return err
		}
	}
	switch schema["type"] {
	case "object":
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: an object without properties", path)
		}
		for name, value := range properties {
			inner, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%s.%s: a boolean instead of a schema", path, name)
			}
			if err := portable(inner, path+"."+name); err != nil {
				return err
			}
		}
	case "array":
		items, ok := schema["items"].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: an array without items", path)
		}
		return portable(items, path+"[]")
	}
	return nil
}

// portableForm checks the values of keywords that some vendors accept only in one
// form.
func portableForm(keyword string, value any, path string) error {
	_, text := value.(string)
	switch keyword {
	case "type":
		if !text {
			return fmt.Errorf("%s: more than one type", path)
		}
	case "enum":
		list, _ := value.([]any)
		if slices.ContainsFunc(list, func(v any) bool { _, text := v.(string); return !text }) {
			return fmt.Errorf("%s: an enum of other things than strings", path)
		}
	case "additionalProperties":
		if value != false {
			return fmt.Errorf("%s: arbitrary keys (additionalProperties)", path)
		}
	}
	return nil
}
