package toolkit

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Base64 is binary data in an argument or a result, as a string in JSON. An argument
// cannot be a []byte.
type Base64 []byte

// UnmarshalText decodes standard Base64 with padding (RFC 4648 §4).
func (b *Base64) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return errors.New("it is not Base64 (RFC 4648 §4)")
	}
	*b = raw
	return nil
}

// MarshalText encodes as UnmarshalText decodes.
func (b Base64) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString(b)), nil
}

// shape is the form of a JSON value, made from a Go type and its tags. Arguments are
// checked against all of it; vendors decides which part is published as a JSON
// Schema.
type shape struct {
	kind        string // the "type" of JSON Schema; "" is any value, in results only
	description string

	enum               []string
	minimum, maximum   *float64
	minLength          *int
	maxLength          *int
	pattern            *regexp.Regexp
	format             string
	minItems, maxItems *int
	examples           []string
	fallback           json.RawMessage // default

	items   *shape  // of an array
	members []field // of an object
	values  *shape  // of an object with free names, in results only
}

type field struct {
	name     string
	required bool
	*shape
}

// argumentsOf is the shape of the arguments that decode into typ.
func argumentsOf(typ reflect.Type) (*shape, error) {
	if typ.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is not a struct", typ)
	}
	return (&shaper{input: true}).of(typ)
}

// resultOf is the shape of what typ encodes to.
func resultOf(typ reflect.Type) (*shape, error) { return (&shaper{}).of(typ) }

// shaper makes shapes. For arguments it accepts only what every model can fill in.
type shaper struct {
	input bool
	path  []reflect.Type
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	durationType    = reflect.TypeFor[time.Duration]()
	rawType         = reflect.TypeFor[json.RawMessage]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
)

func (s *shaper) of(typ reflect.Type) (*shape, error) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if slices.Contains(s.path, typ) && typ.Kind() == reflect.Struct {
		return nil, fmt.Errorf("%s contains itself, which needs a reference ($ref) that models refuse", typ)
	}
	s.path = append(s.path, typ)
	defer func() { s.path = s.path[:len(s.path)-1] }()

	implements := func(t reflect.Type) bool { return typ.Implements(t) || reflect.PointerTo(typ).Implements(t) }
	switch {
	case typ == timeType:
		return &shape{kind: "string", format: "date-time"}, nil
	case typ == durationType && s.input:
		return nil, errors.New("time.Duration is a number of nanoseconds in JSON: take seconds as an int, or a string")
	case typ == rawType && s.input, typ.Kind() == reflect.Interface && s.input:
		return nil, fmt.Errorf("%s says nothing about the value, so models cannot fill it in: name its fields", typ)
	case s.input && implements(textUnmarshaler), !s.input && implements(textMarshaler) && !implements(jsonMarshaler):
		return &shape{kind: "string"}, nil
	case s.input && implements(jsonUnmarshaler):
		return nil, fmt.Errorf("%s decodes itself, so its schema is not known: take another type and convert it", typ)
	case !s.input && implements(jsonMarshaler), typ == rawType, typ.Kind() == reflect.Interface:
		return &shape{}, nil
	}
	switch kind := typ.Kind(); kind {
	case reflect.Bool:
		return &shape{kind: "boolean"}, nil
	case reflect.String:
		return &shape{kind: "string"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(kind, typ.Bits()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return integer(kind, typ.Bits()), nil
	case reflect.Float32, reflect.Float64:
		return &shape{kind: "number"}, nil
	case reflect.Slice, reflect.Array:
		return s.array(typ)
	case reflect.Map:
		return s.mapping(typ)
	case reflect.Struct:
		return s.object(typ)
	}
	return nil, fmt.Errorf("%s cannot be encoded as JSON", typ)
}

func integer(kind reflect.Kind, bits int) *shape {
	s := &shape{kind: "integer"}
	switch {
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		s.minimum = new(0.0)
		if bits < 64 {
			s.maximum = new(float64(uint64(1)<<bits - 1))
		}
	case bits < 64:
		s.minimum, s.maximum = new(-float64(uint64(1)<<(bits-1))), new(float64(uint64(1)<<(bits-1)-1))
	}
	return s
}

func (s *shaper) array(typ reflect.Type) (*shape, error) {
	if typ.Elem().Kind() == reflect.Uint8 {
		if s.input || typ.Kind() == reflect.Array {
			return nil, fmt.Errorf("%s would be a list of numbers: take toolkit.Base64", typ)
		}
		return &shape{kind: "string"}, nil // encoding/json writes Base64
	}
	items, err := s.of(typ.Elem())
	if err != nil {
		return nil, err
	}
	a := &shape{kind: "array", items: items}
	if typ.Kind() == reflect.Array {
		a.minItems, a.maxItems = new(typ.Len()), new(typ.Len())
	}
	return a, nil
}

func (s *shaper) mapping(typ reflect.Type) (*shape, error) {
	if s.input {
		return nil, fmt.Errorf("%s is an object with arbitrary keys, which Gemini refuses: take a list of structs with a key and a value", typ)
	}
	if typ.Key().Kind() != reflect.String && !typ.Key().Implements(textMarshaler) {
		return nil, fmt.Errorf("%s has keys that are not strings", typ)
	}
	values, err := s.of(typ.Elem())
	return &shape{kind: "object", values: values}, err
}

func (s *shaper) object(typ reflect.Type) (*shape, error) {
	o := &shape{kind: "object"}
	for _, f := range reflect.VisibleFields(typ) {
		name, options, named := jsonName(f)
		if name == "" || !f.IsExported() && !f.Anonymous || f.Anonymous && !named && indirect(f.Type).Kind() == reflect.Struct || promotedFromNamed(typ, f) {
			continue
		}
		member, err := s.of(f.Type)
		if err == nil {
			err = member.constrain(f, s.input)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		optional := slices.ContainsFunc(options, func(o string) bool { return o == "omitempty" || o == "omitzero" }) ||
			f.Type.Kind() == reflect.Pointer || member.fallback != nil
		o.members = append(o.members, field{name, !optional, member})
	}
	return o, nil
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// promotedFromNamed reports whether f reaches typ through an embedded struct that
// has a name in JSON: then it is a member of that one and not of typ.
func promotedFromNamed(typ reflect.Type, f reflect.StructField) bool {
	for n := 1; n < len(f.Index); n++ {
		if _, _, named := jsonName(typ.FieldByIndex(f.Index[:n])); named {
			return true
		}
	}
	return false
}

// jsonName is the name that encoding/json uses, "" for none, and whether a tag
// says so.
func jsonName(f reflect.StructField) (name string, options []string, named bool) {
	tag := f.Tag.Get("json")
	if tag == "-" {
		return "", nil, false
	}
	parts := strings.Split(tag, ",")
	if parts[0] == "" {
		return f.Name, parts[1:], false
	}
	return parts[0], parts[1:], true
}

// constrain takes the constraints from the tags of f. For an array, constraints on
// text and numbers apply to each item.
func (s *shape) constrain(f reflect.StructField, input bool) error {
	s.description = f.Tag.Get("jsonschema")
	item := s
	if s.kind == "array" {
		item = s.items
	}
	for _, c := range constraints {
		text, ok := f.Tag.Lookup(c.tag)
		if !ok {
			continue
		}
		target := item
		if c.kinds[0] == "array" {
			target = s
		}
		if !input {
			continue // results are not checked
		}
		if !slices.Contains(c.kinds, target.kind) {
			return fmt.Errorf("the tag %s is for %s, and this is of type %s", c.tag, strings.Join(c.kinds, " and "), target.kind)
		}
		if err := c.set(target, text); err != nil {
			return fmt.Errorf("the tag %s: %w", c.tag, err)
		}
	}
	if text, ok := f.Tag.Lookup("default"); ok && input {
		if err := s.setDefault(text, f.Type); err != nil {
			return fmt.Errorf("the tag default: %w", err)
		}
	}
	return s.consistent()
}

// constraints are the tags of an argument beyond json, jsonschema and default.
var constraints = []struct {
	tag   string
	kinds []string
	set   func(*shape, string) error
}{
	{"enum", []string{"string"}, func(s *shape, text string) error {
		s.enum = strings.Split(text, ",")
		if slices.Contains(s.enum, "") {
			return errors.New("it lists an empty value")
		}
		return nil
	}},
	{"minimum", []string{"integer", "number"}, func(s *shape, text string) error { return number(&s.minimum, text, math.Max) }},
	{"maximum", []string{"integer", "number"}, func(s *shape, text string) error { return number(&s.maximum, text, math.Min) }},
	{"minLength", []string{"string"}, func(s *shape, text string) error { return count(&s.minLength, text) }},
	{"maxLength", []string{"string"}, func(s *shape, text string) error { return count(&s.maxLength, text) }},
	{"minItems", []string{"array"}, func(s *shape, text string) error { return count(&s.minItems, text) }},
	{"maxItems", []string{"array"}, func(s *shape, text string) error { return count(&s.maxItems, text) }},
	{"pattern", []string{"string"}, func(s *shape, text string) (err error) {
		s.pattern, err = regexp.Compile(text)
		return err
	}},
	{"format", []string{"string"}, func(s *shape, text string) error {
		if _, ok := formats[text]; !ok {
			return fmt.Errorf("%q is not one of %s", text, strings.Join(formatNames(), ", "))
		}
		s.format = text
		return nil
	}},
	{"examples", []string{"string", "integer", "number"}, func(s *shape, text string) error {
		s.examples = strings.Split(text, ",")
		return nil
	}},
}

// number reads a bound. A stricter bound of the type stays.
func number(to **float64, text string, tighter func(a, b float64) float64) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	if *to != nil {
		n = tighter(**to, n)
	}
	*to = &n
	return nil
}

func count(to **int, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a count", text)
	}
	*to = &n
	return nil
}

// setDefault reads the tag as JSON; a string needs no quotes in it.
func (s *shape) setDefault(text string, typ reflect.Type) error {
	raw := json.RawMessage(text)
	if s.kind == "string" {
		raw, _ = json.Marshal(text) // a string always encodes
	}
	if err := json.Unmarshal(raw, reflect.New(typ).Interface()); err != nil {
		return err
	}
	s.fallback = raw
	return nil
}

// consistent refuses constraints that no value can meet, or that the default or an
// example does not meet.
func (s *shape) consistent() error {
	target := s
	if s.items != nil {
		target = s.items
	}
	switch {
	case target.minimum != nil && target.maximum != nil && *target.minimum > *target.maximum:
		return errors.New("minimum is above maximum")
	case target.minLength != nil && target.maxLength != nil && *target.minLength > *target.maxLength:
		return errors.New("minLength is above maxLength")
	case s.minItems != nil && s.maxItems != nil && *s.minItems > *s.maxItems:
		return errors.New("minItems is above maxItems")
	}
	for _, value := range target.enum {
		if _, err := target.check(value, "it"); err != nil {
			return fmt.Errorf("the tag enum: %q: %w", value, err)
		}
	}
	for _, text := range target.examples {
		var value any = text
		if target.kind != "string" {
			value = json.Number(text)
		}
		if _, err := target.check(value, "it"); err != nil {
			return fmt.Errorf("the tag examples: %q: %w", text, err)
		}
	}
	if s.fallback != nil {
		value, err := decodeAny(s.fallback)
		if err == nil {
			_, err = s.check(value, "it")
		}
		if err != nil {
			return fmt.Errorf("the tag default: %w", err)
		}
	}
	return nil
}
