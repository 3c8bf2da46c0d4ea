package toolkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText is the longest string in an argument, in characters, unless maxLength says
// otherwise.
const maxText = 64 << 10

// arguments makes of raw what decodes into the tool's struct: it fills in defaults
// and corrects small mistakes that models are known to make. The error names the
// argument.
func (s *shape) arguments(raw json.RawMessage) (json.RawMessage, error) {
	value := any(map[string]any{})
	if text := bytes.TrimSpace(raw); len(text) > 0 && string(text) != "null" {
		var err error
		if value, err = decodeAny(text); err != nil {
			return nil, errors.New("The arguments are not JSON.")
		}
	}
	value, err := s.check(value, "")
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// decodeAny keeps numbers as they were written.
func decodeAny(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err == nil {
		return nil, errors.New("there is more than one value")
	}
	return value, nil
}

// check returns value in the form of the shape. Some clients send null for what is
// left out, and lists and objects encoded a second time, as a string.
func (s *shape) check(value any, path string) (any, error) {
	wrong := func(format string, args ...any) error {
		name := "The arguments"
		if path != "" {
			name = path
		}
		return fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
	if text, ok := value.(string); ok && (s.kind == "array" || s.kind == "object") {
		if again, err := decodeAny([]byte(text)); err == nil {
			value = again
		}
	}
	switch v := value.(type) {
	case string:
		if s.kind != "string" {
			break
		}
		if err := s.checkText(v); err != nil {
			return nil, wrong("%v", err)
		}
		return v, nil
	case bool:
		if s.kind == "boolean" {
			return v, nil
		}
	case json.Number:
		if s.kind != "integer" && s.kind != "number" {
			break
		}
		n, err := s.checkNumber(v)
		if err != nil {
			return nil, wrong("%v", err)
		}
		return n, nil
	case []any:
		if s.kind != "array" {
			break
		}
		if s.minItems != nil && len(v) < *s.minItems {
			return nil, wrong("has %d items, fewer than %d", len(v), *s.minItems)
		}
		if s.maxItems != nil && len(v) > *s.maxItems {
			return nil, wrong("has %d items, more than %d", len(v), *s.maxItems)
		}
		for i := range v {
			item, err := s.items.check(v[i], path+"["+strconv.Itoa(i)+"]")
			if err != nil {
				return nil, err
			}
			v[i] = item
		}
		return v, nil
	case map[string]any:
		if s.kind == "object" {
			return s.checkMembers(v, path, wrong)
		}
	}
	return nil, wrong("must be of type %s", s.kind)
}

func (s *shape) checkMembers(v map[string]any, path string, wrong func(string, ...any) error) (any, error) {
	for _, f := range s.members {
		name := f.name
		if path != "" {
			name = path + "." + name
		}
		given, ok := v[f.name]
		if !ok || given == nil {
			delete(v, f.name)
			if f.fallback != nil {
				v[f.name] = f.fallback
			} else if f.required {
				return nil, wrong("%s is missing", strconv.Quote(f.name))
			}
			continue
		}
		checked, err := f.check(given, name)
		if err != nil {
			return nil, err
		}
		v[f.name] = checked
	}
	if len(v) > len(s.members) || slices.ContainsFunc(slices.Collect(maps.Keys(v)), func(name string) bool { return !s.has(name) }) {
		var unknown []string
		for name := range v {
			if !s.has(name) {
				unknown = append(unknown, strconv.Quote(shortened(name)))
			}
		}
		slices.Sort(unknown)
		return nil, wrong("there is no argument %s", strings.Join(unknown[:min(len(unknown), 5)], ", "))
	}
	return v, nil
}

func (s *shape) has(name string) bool {
	return slices.ContainsFunc(s.members, func(f field) bool { return f.name == name })
}

func (s *shape) checkText(v string) error {
	n := utf8.RuneCountInString(v)
	limit := maxText
	if s.maxLength != nil {
		limit = *s.maxLength
	}
	switch {
	case n > limit:
		return fmt.Errorf("has %d characters, more than %d", n, limit)
	case s.minLength != nil && n < *s.minLength:
		return fmt.Errorf("has %d characters, fewer than %d", n, *s.minLength)
	case len(s.enum) > 0 && !slices.Contains(s.enum, v):
		return fmt.Errorf("%s is not one of %s", strconv.Quote(shortened(v)), strings.Join(s.enum, ", "))
	case s.pattern != nil && !s.pattern.MatchString(v):
		return fmt.Errorf("%s does not match the regular expression %s", strconv.Quote(shortened(v)), s.pattern)
	case s.format != "" && !formats[s.format](v):
		return fmt.Errorf("%s is not of the format %s", strconv.Quote(shortened(v)), s.format)
	}
	return nil
}

func (s *shape) checkNumber(v json.Number) (json.Number, error) {
	f, err := v.Float64()
	if err != nil || len(v) > 64 {
		return "", errors.New("is not a number that can be used")
	}
	if s.kind == "integer" {
		if _, err := strconv.ParseInt(string(v), 10, 64); err != nil {
			if _, err := strconv.ParseUint(string(v), 10, 64); err != nil {
				// 3.0 and 1e3 are integers (JSON Schema 2020-12 §4.2.3).
				const exact = 1 << 53
				if f != float64(int64(f)) || f > exact || f < -exact {
					return "", errors.New("must be of type integer")
				}
				v = json.Number(strconv.FormatInt(int64(f), 10))
			}
		}
	}
	if s.minimum != nil && f < *s.minimum {
		return "", fmt.Errorf("%s is less than %v", v, *s.minimum)
	}
	if s.maximum != nil && f > *s.maximum {
		return "", fmt.Errorf("%s is more than %v", v, *s.maximum)
	}
	return v, nil
}

// shortened is text of a client for an error message, of limited length.
func shortened(text string) string {
	const limit = 80
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit]) + "…"
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)
)

// formats are those of JSON Schema 2020-12 §7.3 that a tag may name.
var formats = map[string]func(string) bool{
	"date-time": layout(time.RFC3339Nano),
	"date":      layout(time.DateOnly),
	"time":      layout("15:04:05.999999999Z07:00"),
	"email": func(v string) bool {
		a, err := mail.ParseAddress(v)
		return err == nil && a.Address == v
	},
	"uri": func(v string) bool {
		u, err := url.Parse(v)
		return err == nil && u.IsAbs()
	},
	"uuid":     uuidForm.MatchString,
	"hostname": func(v string) bool { return len(v) <= 253 && hostForm.MatchString(v) },
	"ipv4": func(v string) bool {
		a, err := netip.ParseAddr(v)
		return err == nil && a.Is4()
	},
	"ipv6": func(v string) bool {
		a, err := netip.ParseAddr(v)
		return err == nil && a.Is6() && a.Zone() == ""
	},
}

func layout(form string) func(string) bool {
	return func(v string) bool {
		_, err := time.Parse(form, v)
		return err == nil
	}
}

func formatNames() []string { return slices.Sorted(maps.Keys(formats)) }
