package toolkit

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// encode is value as JSON that fits the published schema, which has no null because
// vendors of models refuse nullable types. A nil list is [], a nil map is {}, and
// other nil members are left out.
func (s *shape) encode(value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil || !bytes.Contains(raw, []byte("null")) {
		return raw, err
	}
	decoded, err := decodeAny(raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(s.withoutNull(decoded))
}

// wrappedText is {"result": text}.
func wrappedText(text string) []byte {
	const before, after = `{"result":`, `}`
	out := append(make([]byte, 0, len(before)+len(text)+len(text)/8+2+len(after)), before...)
	out, _ = jsontext.AppendQuote(out, text) // invalid UTF-8 is replaced
	return append(out, after...)
}

func (s *shape) withoutNull(value any) any {
	switch v := value.(type) {
	case nil:
		switch s.kind {
		case "array":
			return []any{}
		case "object":
			// The embedded struct is nil: its members are left out.
			return map[string]any{}
		}
	case []any:
		if s.items == nil {
			break
		}
		for i := range v {
			v[i] = s.items.withoutNull(v[i])
		}
	case map[string]any:
		for _, f := range s.members {
			inner, ok := v[f.name]
			switch {
			case !ok:
			case inner == nil && !f.required:
				delete(v, f.name)
			default:
				v[f.name] = f.withoutNull(inner)
			}
		}
		if s.values != nil {
			for name, inner := range v {
				v[name] = s.values.withoutNull(inner)
			}
		}
	}
	return value
}
