package json

import (
	"bytes"
	"encoding"
	stdjson "encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// plain decodes the first value of s into v, which points to a zero value, if
// neither has anything unusual, and says how many bytes that value has. It is what
// Decode does first: messages are small, and most of what the full decoder takes
// for one is not the reading. What it does not take, taken is false for and v is
// zero again: names with escapes, names that come twice in a struct, invalid
// UTF-8, anything malformed. So it has no errors of its own, but for one: an
// object is no slice, which is how the SDK asks whether a message is a batch.
//
// FuzzPlainAgrees holds it to the full decoder.
func (s *scanner) plain(v any) (n int, taken bool, err error) {
	to := reflect.ValueOf(v)
	if to.Kind() != reflect.Pointer || to.IsNil() || !to.Elem().IsZero() {
		return 0, false, nil
	}
	to = to.Elem()
	r := readerOf(to.Type())
	s.space()
	if s.at('{') && to.Kind() == reflect.Slice && !r.unmarshals {
		if !s.skip(0) {
			return 0, false, nil
		}
		return s.pos, true, &jsonv1.UnmarshalTypeError{Value: "object", Type: to.Type()}
	}
	scalar := !s.at('{') && !s.at('[') && !s.at('"')
	if !r.read(s, to, 0) || scalar && s.pos < len(s.data) && strings.IndexByte(" \t\r\n", s.data[s.pos]) < 0 {
		to.SetZero()
		return 0, false, nil
	}
	return s.pos, true, nil
}

// maxDepth is how deep plain goes.
const maxDepth = 1000

// scanner reads JSON (RFC 8259). Its methods report false where a value is not
// theirs, and then have moved to nowhere in particular.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// next moves beyond c and the space around it.
func (s *scanner) next(c byte) bool {
	s.space()
	if !s.at(c) {
		return false
	}
	s.pos++
	s.space()
	return true
}

// members reads an object: member is called at each value.
func (s *scanner) members(member func(name []byte) bool) bool {
	return s.list('{', '}', func() bool {
		start := s.pos
		isPlain, ok := s.text()
		if !ok || !isPlain {
			return false
		}
		name := s.data[start+1 : s.pos-1]
		return s.next(':') && member(name)
	})
}

// list reads what stands between open and end, separated by commas.
func (s *scanner) list(open, end byte, item func() bool) bool {
	if !s.next(open) {
		return false
	}
	if s.at(end) {
		s.pos++
		return true
	}
	for item() {
		if s.space(); s.at(end) {
			s.pos++
			return true
		}
		if !s.next(',') {
			return false
		}
	}
	return false
}

// text moves beyond a string, and says whether its bytes are its text: ASCII
// without escapes.
func (s *scanner) text() (isPlain, ok bool) {
	if !s.at('"') {
		return false, false
	}
	isPlain = true
	for i := s.pos + 1; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return isPlain, true
		case c < ' ':
			return false, false
		case c >= utf8.RuneSelf:
			isPlain = false
		case c == '\\':
			isPlain = false
			if i++; i >= len(s.data) {
				return false, false
			}
			switch s.data[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i >= len(s.data) || !isHex(s.data[i]) {
						return false, false
					}
				}
			default:
				return false, false
			}
		}
	}
	return false, false
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// string is the text of a string.
func (s *scanner) string() (string, bool) {
	start := s.pos
	isPlain, ok := s.text()
	if !ok {
		return "", false
	}
	quoted := s.data[start:s.pos]
	if isPlain {
		return string(quoted[1 : len(quoted)-1]), true
	}
	if !utf8.Valid(quoted) {
		return "", false
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), true
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	return string(text), err == nil
}

func (s *scanner) literal(text string) bool {
	if len(s.data)-s.pos < len(text) || string(s.data[s.pos:s.pos+len(text)]) != text {
		return false
	}
	s.pos += len(text)
	return true
}

// number is the bytes of a number.
func (s *scanner) number() ([]byte, bool) {
	start := s.pos
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if !s.digits() {
		return nil, false
	}
	if s.at('.') {
		if s.pos++; !s.digits() {
			return nil, false
		}
	}
	if s.at('e') || s.at('E') {
		if s.pos++; s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return nil, false
		}
	}
	return s.data[start:s.pos], true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// skip moves beyond a value.
func (s *scanner) skip(depth int) bool {
	if s.pos >= len(s.data) || depth > maxDepth {
		return false
	}
	switch s.data[s.pos] {
	case '{':
		return s.list('{', '}', func() bool {
			_, ok := s.text()
			return ok && s.next(':') && s.skip(depth+1)
		})
	case '[':
		return s.list('[', ']', func() bool { return s.skip(depth + 1) })
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, ok := s.number()
	return ok
}

// any is a value as an empty interface holds it.
func (s *scanner) any(depth int) (any, bool) {
	if s.pos >= len(s.data) || depth > maxDepth {
		return nil, false
	}
	switch s.data[s.pos] {
	case '{':
		return s.object(depth)
	case '[':
		out := []any{}
		ok := s.list('[', ']', func() bool {
			v, ok := s.any(depth + 1)
			out = append(out, v)
			return ok
		})
		return out, ok
	case '"':
		return s.string()
	case 't':
		return true, s.literal("true")
	case 'f':
		return false, s.literal("false")
	case 'n':
		return nil, s.literal("null")
	}
	text, ok := s.number()
	if !ok {
		return nil, false
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return f, err == nil
}

func (s *scanner) object(depth int) (map[string]any, bool) {
	out := map[string]any{}
	ok := s.members(func(name []byte) bool {
		v, ok := s.any(depth + 1)
		out[string(name)] = v
		return ok
	})
	return out, ok
}

// reader reads values of one type.
type reader struct {
	typ        reflect.Type
	unmarshals bool // the type has a say in how it is decoded
	build      sync.Once
	into       func(s *scanner, v reflect.Value, depth int) bool
}

var readers sync.Map // of *reader by reflect.Type

func readerOf(t reflect.Type) *reader {
	if r, ok := readers.Load(t); ok {
		return r.(*reader)
	}
	r, _ := readers.LoadOrStore(t, &reader{typ: t, unmarshals: unmarshals(t)})
	return r.(*reader)
}

// read reads a value into v, which is zero. Null leaves it so.
func (r *reader) read(s *scanner, v reflect.Value, depth int) bool {
	r.build.Do(func() { r.into = intoOf(r.typ) })
	if depth > maxDepth {
		return false
	}
	return r.into(s, v, depth)
}

var (
	rawType    = reflect.TypeFor[stdjson.RawMessage]()
	numberType = reflect.TypeFor[stdjson.Number]()
	anyType    = reflect.TypeFor[any]()
)

// unmarshals reports whether the type has a say in how it is decoded.
func unmarshals(t reflect.Type) bool {
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		if t.Implements(reflect.TypeFor[stdjson.Unmarshaler]()) || t.Implements(reflect.TypeFor[jsonv2.UnmarshalerFrom]()) ||
			t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return true
		}
	}
	return false
}

func intoOf(t reflect.Type) func(*scanner, reflect.Value, int) bool {
	if t == rawType {
		return func(s *scanner, v reflect.Value, depth int) bool {
			start := s.pos
			if !s.skip(depth) {
				return false
			}
			v.SetBytes(slices.Clone(s.data[start:s.pos]))
			return true
		}
	}
	if unmarshals(t) || t == numberType {
		return byFull
	}
	switch t.Kind() {
	case reflect.String:
		return orNull(func(s *scanner, v reflect.Value, _ int) bool {
			text, ok := s.string()
			v.SetString(text)
			return ok
		})
	case reflect.Interface:
		if t != anyType {
			break
		}
		return func(s *scanner, v reflect.Value, depth int) bool {
			value, ok := s.any(depth)
			if ok && value != nil {
				v.Set(reflect.ValueOf(value))
			}
			return ok
		}
	case reflect.Map:
		if t.Key() == reflect.TypeFor[string]() {
			return orNull(intoMap(t))
		}
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			return orNull(intoSlice(t))
		}
	case reflect.Pointer:
		inner := readerOf(t.Elem())
		return orNull(func(s *scanner, v reflect.Value, depth int) bool {
			v.Set(reflect.New(t.Elem()))
			return inner.read(s, v.Elem(), depth)
		})
	case reflect.Struct:
		if into, ok := intoStruct(t); ok {
			return orNull(into)
		}
	}
	return byFull
}

func orNull(into func(*scanner, reflect.Value, int) bool) func(*scanner, reflect.Value, int) bool {
	return func(s *scanner, v reflect.Value, depth int) bool {
		return s.at('n') && s.literal("null") || into(s, v, depth)
	}
}

// byFull leaves one value to the full decoder.
func byFull(s *scanner, v reflect.Value, depth int) bool {
	start := s.pos
	return s.skip(depth) && jsonv2.Unmarshal(s.data[start:s.pos], v.Addr().Interface(), exactCase) == nil
}

func intoMap(t reflect.Type) func(*scanner, reflect.Value, int) bool {
	if t.Elem() == anyType {
		return func(s *scanner, v reflect.Value, depth int) bool {
			if !s.at('{') {
				return false
			}
			m, ok := s.object(depth)
			v.Set(reflect.ValueOf(m).Convert(t))
			return ok
		}
	}
	inner := readerOf(t.Elem())
	return func(s *scanner, v reflect.Value, depth int) bool {
		v.Set(reflect.MakeMap(t))
		return s.members(func(name []byte) bool {
			item := reflect.New(t.Elem()).Elem()
			key := reflect.ValueOf(string(name))
			if v.MapIndex(key).IsValid() || !inner.read(s, item, depth+1) {
				return false
			}
			v.SetMapIndex(key, item)
			return true
		})
	}
}

func intoSlice(t reflect.Type) func(*scanner, reflect.Value, int) bool {
	inner := readerOf(t.Elem())
	return func(s *scanner, v reflect.Value, depth int) bool {
		v.Set(reflect.MakeSlice(t, 0, 0))
		return s.list('[', ']', func() bool {
			v.Grow(1)
			v.SetLen(v.Len() + 1)
			item := v.Index(v.Len() - 1)
			item.SetZero()
			return inner.read(s, item, depth+1)
		})
	}
}

// intoStruct is for structs whose fields stand for themselves: each exported one
// has a simple name of its own in its tag, or none and is not embedded.
func intoStruct(t reflect.Type) (func(*scanner, reflect.Value, int) bool, bool) {
	type field struct {
		name  string
		index int
		*reader
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case !f.IsExported() && f.Anonymous, f.Anonymous && name == "", tagged && !simple(name),
			options != "" && options != "omitempty" && options != "omitzero":
			return nil, false
		case !f.IsExported():
			continue
		case !tagged:
			name = f.Name
		}
		if slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			return nil, false
		}
		fields = append(fields, field{name, i, readerOf(f.Type)})
	}
	if len(fields) > 64 {
		return nil, false
	}
	return func(s *scanner, v reflect.Value, depth int) bool {
		var seen uint64
		return s.members(func(name []byte) bool {
			for i := range fields {
				f := &fields[i]
				if f.name != string(name) {
					continue
				}
				if seen&(1<<i) != 0 {
					return false
				}
				seen |= 1 << i
				return f.read(s, v.Field(f.index), depth+1)
			}
			return s.skip(depth + 1)
		})
	}, true
}

// simple reports whether a name in a tag needs no rules for names.
func simple(name string) bool {
	return name != "" && name[0] != '-' && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	})
}
