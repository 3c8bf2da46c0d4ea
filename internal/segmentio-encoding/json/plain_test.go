package json

import (
	stdjson "encoding/json"
	"reflect"
	"strings"
	"testing"
)

type meta map[string]any

// params has what the SDK's parameters have: a tagged map that is embedded, raw
// values, types that decode themselves, and one that contains itself.
type params struct {
	meta      `json:"_meta,omitempty"` // as of a type that is not exported: left to the full decoder
	Name      string                   `json:"name"`
	Arguments stdjson.RawMessage       `json:"arguments,omitempty"`
}

// Meta is embedded under a name, as the SDK does.
type Meta map[string]any

type callParams struct {
	Meta      `json:"_meta,omitempty"`
	Name      string             `json:"name"`
	Arguments stdjson.RawMessage `json:"arguments,omitempty"`
	Responses map[string]*nested `json:"inputResponses,omitempty"`
	State     string             `json:"requestState,omitempty"`
	private   int
}

type property struct {
	Header     stdjson.RawMessage  `json:"x-mcp-header"`
	Properties map[string]property `json:"properties"`
	Minimum    *float64            `json:"minimum"`
	Count      int                 `json:"count"`
	Flag       bool                `json:"flag"`
	Data       []byte              `json:"data"`
	List       []string            `json:"list"`
	Raw        *stdjson.RawMessage `json:"raw"`
	Untagged   string
	Number     stdjson.Number `json:"number"`
}

// targets are one of each kind of type that the SDK decodes.
var targets = []reflect.Type{
	reflect.TypeFor[message](), reflect.TypeFor[*callParams](), reflect.TypeFor[params](), reflect.TypeFor[property](), reflect.TypeFor[any](),
	reflect.TypeFor[string](), reflect.TypeFor[[]stdjson.RawMessage](), reflect.TypeFor[map[string]stdjson.RawMessage](), reflect.TypeFor[stdjson.RawMessage](),
	reflect.TypeFor[struct {
		Meta Meta `json:"_meta"`
	}](), reflect.TypeFor[[]map[string]property](), reflect.TypeFor[float64](), reflect.TypeFor[*bool](),
}

// FuzzPlainAgrees: what plain takes, the full decoder reads alike: the value,
// where it ends, and whether it is an error.
func FuzzPlainAgrees(f *testing.F) {
	for _, text := range []string{
		call, `{"name":"a","arguments":{"b":[1,2.5e3,-0,true,null,"\u00e9\n"]},"_meta":{"progressToken":1,"x":{"y":[]}},"inputResponses":{"k":{"method":"m"}}}`,
		`{"_meta":{"a":1},"_meta":{"b":2}}`, `{"_meta":{"a":1,"a":{"b":2}}}`, `{"name":null,"arguments":null,"_meta":null,"inputResponses":{"k":null}}`,
		`{"properties":{"a":{"properties":{"b":{"x-mcp-header":"H"}}},"a":{"count":3}},"minimum":1,"flag":true,"data":"aGk=","list":["a",null,"b"],"raw":null,"number":1e400}`,
		"{\"name\":\"\xff\",\"a\xff\":1}", `{"n\u0061me":"x"}`, `{"Name":"x","untagged":"y","Untagged":"z"}`, `"text" tail`, ` [ {} , [ ] ] `, `[{"count":1.5}]`, `{"count":01}`,
		`1x`, `1 x`, `truex`, `null`, `-`, `{"a":"\ud800"}`, `{"a":"\q"}`, `{"a":1e999}`, `{"id":1e999}`, `[1,]`, `{"a":1,}`, `{`, `{"a"`, "", " ", "\"a\x01\"", `{"id":"\ud83d\ude00"}`,
		// Names that come twice, in maps and in what they hold.
		`{"a":{"x":1},"a":{"y":2}}`, `{"a":{"x":1},"a":null}`, `{"a":[1,2,3],"a":[4]}`, `{"_meta":{"a":{"x":{"p":1}},"a":{"x":{"q":2}}}}`, `[{"a":{"x":1},"a":{"y":2}}]`,
		`{"inputResponses":{"a":{"method":"m","method":"n"}}}`, `{"raw":{"a":[]},"raw":1}`, `{"":1,"-":2,"meta":{"a":1},"Meta":{"b":1},"private":3}`, `{"_META":{"a":1},"NAME":"x"}`,
		// Null, and values of another type or out of its range.
		`{"count":null,"flag":null,"data":null,"list":null,"minimum":null,"number":null,"raw":null,"Untagged":null,"x-mcp-header":null,"properties":null}`,
		`{"count":9223372036854775808}`, `{"count":1e2}`, `{"count":-0}`, `{"minimum":1e309}`, `{"minimum":1e-400}`, `{"number":"1"}`, `{"number":""}`, `{"data":"!"}`, `{"data":[1,2]}`, `{"data":""}`,
		`{"list":[null,null]}`, `{"list":{}}`, `{"properties":[]}`, `{"properties":{"a":null}}`, `123456789012345678901234567890`,
		// Texts that are none, and what surrounds values.
		`{"arguments":"\ud800","name":"\udc00\ud800"}`, "{\"arguments\":{\"a\":\"\xff\"}}", "{\"x\":\"\xc3\"}", "{\"_meta\":{\"a\":\"\xed\xa0\x80\"}}", "{\"a\xc3\xa9\":1}", `"\u0000"`, "\"\x7f\"",
		"\ufeff{}", "{}\x00", "\v{}", "{\"a\"\v:1}", `{}{}`, `[]x`, `""x`, `null,`, `00`, `1.`, `1e+`, `.5`, `+1`, `{"a" 1}`, `{,}`, `[1 2]`,
		strings.Repeat("[", 2000) + strings.Repeat("]", 2000), `{"id":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, target := range targets {
			got, want := reflect.New(target), reflect.New(target)
			n, taken, err := (&scanner{data: text}).plain(got.Interface())
			if !taken {
				if n != 0 || err != nil || !got.Elem().IsZero() {
					t.Fatalf("%q into %s: not taken, and left %v %v", text, target, got.Elem(), err)
				}
				continue
			}
			d := &Decoder{exact: true, rest: text}
			fullErr := d.full(want.Interface())
			if (err == nil) != (fullErr == nil) || n != len(text)-len(d.rest) {
				t.Fatalf("%q into %s: %v after %d bytes, the full decoder %v after %d", text, target, err, n, fullErr, len(text)-len(d.rest))
			}
			if err == nil && !reflect.DeepEqual(got.Interface(), want.Interface()) {
				t.Fatalf("%q into %s: %#v, the full decoder %#v", text, target, got.Elem(), want.Elem())
			}
		}
	})
}

// TestPlainTakesWhatIsUsual: else it would be a detour.
func TestPlainTakesWhatIsUsual(t *testing.T) {
	for text, v := range map[string]any{
		call: &message{},
		`{"name":"hello_world","arguments":{"name":"Ad\u00e4\n"},"_meta":{"progressToken":"ü"}}`: new(*callParams),
		` {"jsonrpc":"2.0"} `: new([]stdjson.RawMessage),
		`{"properties":{"a":{"x-mcp-header":"H","minimum":1,"count":2}}}`: &property{},
		`"tools/call"`: new(string),
	} {
		if _, taken, _ := (&scanner{data: []byte(text)}).plain(v); !taken {
			t.Errorf("%s is not taken into %T", text, v)
		}
	}
}

// TestPlainLeavesWhatIsThere: a value that is not zero would have to be merged.
func TestPlainLeavesWhatIsThere(t *testing.T) {
	got := callParams{Meta: Meta{"a": 1.0}, Name: "x"}
	if err := (&Decoder{exact: true, rest: []byte(`{"_meta":{"b":2}}`)}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if want := (callParams{Meta: Meta{"a": 1.0, "b": 2.0}, Name: "x"}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func BenchmarkMessage(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d := &Decoder{exact: true, rest: []byte(call)}
		if err := d.Decode(&message{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageByFull(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		d := &Decoder{exact: true, rest: []byte(call)}
		if err := d.full(&message{}); err != nil {
			b.Fatal(err)
		}
	}
}
