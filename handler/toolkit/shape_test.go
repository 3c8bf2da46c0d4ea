package toolkit_test

import (
	"context"
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

type everyKind struct {
	Text     string         `json:"text" jsonschema:"Any text." minLength:"2" maxLength:"4" examples:"ab,abcd"`
	Colour   string         `json:"colour,omitempty" enum:"red,green" default:"red"`
	Code     string         `json:"code,omitempty" jsonschema:"A code." pattern:"^[A-Z]+$"`
	Mail     string         `json:"mail,omitempty" format:"email"`
	When     time.Time      `json:"when,omitzero"`
	Small    int8           `json:"small,omitempty"`
	Big      int64          `json:"big,omitempty"`
	Count    int            `json:"count,omitempty" minimum:"1" maximum:"10" default:"3"`
	Ratio    float64        `json:"ratio,omitempty" maximum:"0.5"`
	Tags     []string       `json:"tags,omitempty" minItems:"1" maxItems:"2" enum:"x,y"`
	Optional *bool          `json:"optional"`
	Inner    inner          `json:"inner,omitzero"`
	List     []inner        `json:"list,omitempty"`
	Address  netip.Addr     `json:"address,omitzero"`
	Data     toolkit.Base64 `json:"data,omitempty"`
	Scores   []int8         `json:"scores,omitempty" minimum:"0" maximum:"500" examples:"1,5"`
	Skipped  chan int       `json:"-"`
	Embedded
}

type inner struct {
	Name string `json:"name" maxLength:"3"`
}

// Embedded is promoted.
type Embedded struct {
	Promoted string `json:"promoted,omitempty"`
}

const everyKindSchema = `{"type":"object","properties":{
	"text":{"type":"string","description":"Any text. For example ab, abcd.","minLength":2,"maxLength":4},
	"colour":{"type":"string","enum":["red","green"],"default":"red"},
	"code":{"type":"string","description":"A code. Must match the regular expression ^[A-Z]+$."},
	"mail":{"type":"string","description":"Format: email."},
	"when":{"type":"string","format":"date-time"},
	"small":{"type":"integer","minimum":-128,"maximum":127},
	"big":{"type":"integer"},
	"count":{"type":"integer","default":3,"minimum":1,"maximum":10},
	"ratio":{"type":"number","maximum":0.5},
	"tags":{"type":"array","items":{"type":"string","enum":["x","y"]},"minItems":1,"maxItems":2},
	"optional":{"type":"boolean"},
	"inner":{"type":"object","properties":{"name":{"type":"string","maxLength":3}},"required":["name"],"additionalProperties":false},
	"list":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string","maxLength":3}},"required":["name"],"additionalProperties":false}},
	"address":{"type":"string"},
	"data":{"type":"string"},
	"scores":{"type":"array","items":{"type":"integer","description":"For example 1, 5.","minimum":0,"maximum":127}},
	"promoted":{"type":"string"}
},"required":["text"],"additionalProperties":false}`

func listed(t *testing.T, tools ...toolkit.Tool) map[string]*mcp.Tool {
	t.Helper()
	list, err := toolkittest.SignIn(t, toolkit.Catalogue{Tools: tools}, toolkittest.User{}).Client.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*mcp.Tool{}
	for _, tool := range list.Tools {
		all[tool.Name] = tool
	}
	return all
}

// decoded is v, or the JSON text that it is, as encoding/json decodes it.
func decoded(t *testing.T, v any) any {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = string(encoded)
	}
	var out any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchemasAreWhatEveryVendorTakes: constraints that some model refuses are in the
// description, nothing is nullable, and an object has properties even if it has none.
func TestSchemasAreWhatEveryVendorTakes(t *testing.T) {
	tools := listed(t,
		toolkit.Define("every", "Every kind.", func(context.Context, *toolkit.Caller, everyKind) (string, error) { return "", nil }),
		toolkit.Define("none", "None.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil }),
	)
	if diff := cmp.Diff(decoded(t, everyKindSchema), decoded(t, tools["every"].InputSchema)); diff != "" {
		t.Error(diff)
	}
	want := map[string]any{"type": "object", "properties": map[string]any{}, "additionalProperties": false}
	if diff := cmp.Diff(want, decoded(t, tools["none"].InputSchema)); diff != "" {
		t.Error(diff)
	}
	for name, tool := range tools {
		if err := toolkit.Portable(tool.InputSchema); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemasThatSomeVendorRefusesAreFound, such as those of tools that are added to the
// SDK's server by hand.
func TestSchemasThatSomeVendorRefusesAreFound(t *testing.T) {
	for name, schema := range map[string]string{
		"not an object":             `{"type":"string"}`,
		"no properties":             `{"type":"object","additionalProperties":false}`,
		"two types":                 `{"type":"object","properties":{"a":{"type":["null","string"]}}}`,
		"boolean schema":            `{"type":"object","properties":{"a":true}}`,
		"array without items":       `{"type":"object","properties":{"a":{"type":"array"}}}`,
		"boolean items":             `{"type":"object","properties":{"a":{"type":"array","items":true}}}`,
		"nested without properties": `{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}}}}`,
		"free names":                `{"type":"object","properties":{"a":{"type":"object","properties":{},"additionalProperties":{"type":"string"}}}}`,
		"enum of numbers":           `{"type":"object","properties":{"a":{"type":"integer","enum":[1,2]}}}`,
		"reference":                 `{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}}}`,
		"definitions":               `{"type":"object","properties":{},"$defs":{}}`,
		"composition":               `{"type":"object","properties":{"a":{"anyOf":[{"type":"string"}]}}}`,
		"pattern":                   `{"type":"object","properties":{"a":{"type":"string","pattern":"a"}}}`,
		"format":                    `{"type":"object","properties":{"a":{"type":"string","format":"email"}}}`,
		"title":                     `{"type":"object","title":"A","properties":{}}`,
		"list":                      `[]`,
		"nested":                    `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string","format":"uri"}}}}}`,
		"arbitrary keys":            `{"type":"object","properties":{},"additionalProperties":true}`,
	} {
		if err := toolkit.Portable(json.RawMessage(schema)); err == nil {
			t.Errorf("%s: %s passes", name, schema)
		}
	}
}

func offering(tools ...toolkit.Tool) toolkit.Catalogue { return toolkit.Catalogue{Tools: tools} }

// TestArgumentsAreHeldToTheirTags before the tool runs, also where the tag is not in the
// published schema. The words name the argument.
func TestArgumentsAreHeldToTheirTags(t *testing.T) {
	ran := 0
	client := toolkittest.SignIn(t, offering(
		toolkit.Define("every", "Every kind.", func(context.Context, *toolkit.Caller, everyKind) (string, error) { ran++; return "ran", nil }),
	), toolkittest.User{})
	for arguments, want := range map[string]string{
		`{}`:                         `"text" is missing`,
		`{"text":null}`:              `"text" is missing`,
		`{"text":7}`:                 "text: must be of type string",
		`{"text":["ab"]}`:            "text: must be of type string",
		`{"text":{"a":1}}`:           "text: must be of type string",
		`{"text":"ab","count":"4"}`:  "count: must be of type integer",
		`{"text":"ab","optional":1}`: "optional: must be of type boolean",
		`{"text":"ab","big":` + strings.Repeat("1", 65) + `}`:     "big: is not a number that can be used",
		`{"text":"ab","big":1e16}`:                                "big: must be of type integer",
		`{"text":"ab","tags":"[\"x\"] [\"y\"]"}`:                  "tags: must be of type array",
		`{"text":"ab","inner":[]}`:                                "inner: must be of type object",
		`{"text":"a"}`:                                            "text: has 1 characters, fewer than 2",
		`{"text":"äöüßx"}`:                                        "text: has 5 characters, more than 4",
		`{"text":"ab","colour":"blue"}`:                           `colour: "blue" is not one of red, green`,
		`{"text":"ab","code":"a"}`:                                "code: ",
		`{"text":"ab","mail":"a"}`:                                "mail: ",
		`{"text":"ab","when":"yesterday"}`:                        "when: ",
		`{"text":"ab","small":128}`:                               "small: 128 is more than 127",
		`{"text":"ab","small":1.5}`:                               "small: must be of type integer",
		`{"text":"ab","count":0}`:                                 "count: 0 is less than 1",
		`{"text":"ab","count":11}`:                                "count: 11 is more than 10",
		`{"text":"ab","ratio":0.6}`:                               "ratio: ",
		`{"text":"ab","tags":[]}`:                                 "tags: has 0 items, fewer than 1",
		`{"text":"ab","tags":["x","y","x"]}`:                      "tags: has 3 items, more than 2",
		`{"text":"ab","tags":["z"]}`:                              "tags[0]: ",
		`{"text":"ab","tags":"x"}`:                                "tags: must be of type array",
		`{"text":"ab","optional":"yes"}`:                          "optional: must be of type boolean",
		`{"text":"ab","inner":{}}`:                                `inner: "name" is missing`,
		`{"text":"ab","inner":{"name":"abcd"}}`:                   "inner.name: ",
		`{"text":"ab","list":[{"name":"a"},{"name":"abcd"}]}`:     "list[1].name: ",
		`{"text":"ab","list":[{"name":"a","x":1}]}`:               `list[0]: there is no argument "x"`,
		`{"text":"ab","data":"*"}`:                                "Base64",
		`{"text":"ab","address":"nowhere"}`:                       "do not fit",
		`{"text":"ab","Skipped":1}`:                               `there is no argument "Skipped"`,
		`{"text":"ab","e":1,"d":1,"c":1,"b":1,"a":1}`:             `there is no argument "a", "b", "c", "d", "e"`,
		`{"text":"ab","ratio":0.` + strings.Repeat("0", 63) + `}`: "ratio: is not a number that can be used",
		`{"text":"ab","big":9007199254740994.0}`:                  "big: must be of type integer",
		`{"text":"ab","big":-9007199254740994.0}`:                 "big: must be of type integer",
		`{"text":"ab","scores":[128]}`:                            "scores[0]: 128 is more than 127",
	} {
		got := client.Call("every", json.RawMessage(arguments))
		if !got.Failed || !strings.Contains(got.Text, want) {
			t.Errorf("%s: %q, want %q", arguments, got.Text, want)
		}
	}
	if ran > 0 {
		t.Errorf("the tool ran %d times", ran)
	}
}

// TestArgumentsArriveAsTheyWereMeant: defaults are filled in, also for null; numbers keep
// every digit; lists and objects that were encoded twice are decoded.
func TestArgumentsArriveAsTheyWereMeant(t *testing.T) {
	var got everyKind
	client := toolkittest.SignIn(t, offering(
		toolkit.Define("every", "Every kind.", func(_ context.Context, _ *toolkit.Caller, in everyKind) (string, error) { got = in; return "", nil }),
	), toolkittest.User{})
	for arguments, want := range map[string]everyKind{
		`{"text":"ab"}`: {Text: "ab", Colour: "red", Count: 3},
		`{"text":"ab","colour":null,"tags":null}`:                   {Text: "ab", Colour: "red", Count: 3},
		`{"text":"ab","big":9007199254740993}`:                      {Text: "ab", Colour: "red", Count: 3, Big: 9007199254740993},
		`{"text":"ab","count":4.0}`:                                 {Text: "ab", Colour: "red", Count: 4},
		`{"text":"ab","scores":[4.0,127]}`:                          {Text: "ab", Colour: "red", Count: 3, Scores: []int8{4, 127}},
		`{"text":"abcd","count":10,"ratio":0.5,"small":-128}`:       {Text: "abcd", Colour: "red", Count: 10, Ratio: 0.5, Small: -128},
		`{"text":"ab","count":1,"tags":["x","y"]}`:                  {Text: "ab", Colour: "red", Count: 1, Tags: []string{"x", "y"}},
		`{"text":"ab","big":9007199254740992.0}`:                    {Text: "ab", Colour: "red", Count: 3, Big: 1 << 53},
		`{"text":"ab","big":-9007199254740992.0}`:                   {Text: "ab", Colour: "red", Count: 3, Big: -1 << 53},
		`{"text":"ab","ratio":0.` + strings.Repeat("0", 62) + `}`:   {Text: "ab", Colour: "red", Count: 3},
		`{"text":"ab","tags":"[\"x\"]","inner":"{\"name\":\"n\"}"}`: {Text: "ab", Colour: "red", Count: 3, Tags: []string{"x"}, Inner: inner{"n"}},
		`{"text":"ab","data":"aGk=","promoted":"p"}`:                {Text: "ab", Colour: "red", Count: 3, Data: toolkit.Base64("hi"), Embedded: Embedded{"p"}},
		`{"text":"ab","when":"2026-11-26T10:00:00Z"}`:               {Text: "ab", Colour: "red", Count: 3, When: time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)},
	} {
		got = everyKind{}
		if r := client.Call("every", json.RawMessage(arguments)); r.Failed {
			t.Errorf("%s: %s", arguments, r.Text)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", arguments, diff)
		}
	}
}

func defined[In any]() {
	toolkit.Define("x", "x", func(context.Context, *toolkit.Caller, In) (string, error) { return "", nil })
}

type recursive struct{ Next *recursive }

type selfDecoding struct{}

func (*selfDecoding) UnmarshalJSON([]byte) error { return nil }

type selfEncoding struct{}

func (selfEncoding) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// TestResultsHaveTheSchemaOfTheirType, as encoding/json writes it.
func TestResultsHaveTheSchemaOfTheirType(t *testing.T) {
	type results struct {
		Small  uint8              `json:"small"`
		Large  uint64             `json:"large"`
		Signed int16              `json:"signed"`
		Ratio  float32            `json:"ratio"`
		Pair   [2]string          `json:"pair"`
		Bytes  []byte             `json:"bytes"`
		Data   toolkit.Base64     `json:"data"`
		Life   time.Duration      `json:"life"`
		Own    selfEncoding       `json:"own"`
		Raw    json.RawMessage    `json:"raw"`
		Free   map[string]inner   `json:"free"`
		Keys   map[netip.Addr]int `json:"keys"`
		Named  Embedded           `json:"named"`
		hidden int
	}
	tool := toolkit.Define("x", "X.", func(context.Context, *toolkit.Caller, struct{}) (results, error) {
		return results{Raw: json.RawMessage("{}"), Data: toolkit.Base64("hi"), Bytes: []byte("hi"), hidden: 1, Free: map[string]inner{}, Keys: map[netip.Addr]int{}}, nil
	})
	want := `{"small":{"type":"integer","minimum":0,"maximum":255},"large":{"type":"integer","minimum":0},"signed":{"type":"integer","minimum":-32768,"maximum":32767},
		"ratio":{"type":"number"},"pair":{"type":"array","items":{"type":"string"},"minItems":2,"maxItems":2},"bytes":{"type":"string"},"data":{"type":"string"},
		"life":{"type":"integer"},"own":{},"raw":{},"free":{"type":"object","additionalProperties":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}},
		"keys":{"type":"object","additionalProperties":{"type":"integer"}},"named":{"type":"object","properties":{"promoted":{"type":"string"}},"additionalProperties":false}}`
	schema, _ := decoded(t, listed(t, tool)["x"].OutputSchema).(map[string]any)
	if diff := cmp.Diff(decoded(t, want), schema["properties"]); diff != "" {
		t.Error(diff)
	}
	got := toolkittest.SignIn(t, offering(tool), toolkittest.User{}).Call("x", nil)
	if structured, _ := got.Structured.(map[string]any); got.Failed || structured["data"] != "aGk=" || structured["bytes"] != "aGk=" {
		t.Errorf("%q", got.Text)
	}
}

// TestAResultThatCannotBeEncodedIsAnError and not half of one.
func TestAResultThatCannotBeEncodedIsAnError(t *testing.T) {
	for name, tool := range map[string]toolkit.Tool{
		"a number": toolkit.Define("x", "X.", func(context.Context, *toolkit.Caller, struct{}) (float64, error) { return math.NaN(), nil }),
		"a part": toolkit.Define("x", "X.", func(context.Context, *toolkit.Caller, struct{}) (toolkit.Result[any], error) {
			return toolkit.Result[any]{Value: func() {}}, nil
		}),
		"nothing": toolkit.Define("x", "X.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.CallToolResult, error) { return nil, nil }),
	} {
		if got := toolkittest.SignIn(t, offering(tool), toolkittest.User{}).Call("x", nil); !got.Failed || got.Structured != nil {
			t.Errorf("%s: %q", name, got.Text)
		}
	}
}

// TestFormatsOfTextsAreHeld before the tool runs.
func TestFormatsOfTextsAreHeld(t *testing.T) {
	type forms struct {
		Date string `json:"date,omitempty" format:"date"`
		Time string `json:"time,omitempty" format:"time"`
		Mail string `json:"mail,omitempty" format:"email"`
		URI  string `json:"uri,omitempty" format:"uri"`
		UUID string `json:"uuid,omitempty" format:"uuid"`
		Host string `json:"host,omitempty" format:"hostname"`
		IPv4 string `json:"ipv4,omitempty" format:"ipv4"`
		IPv6 string `json:"ipv6,omitempty" format:"ipv6"`
	}
	client := toolkittest.SignIn(t, offering(toolkit.Define("x", "X.", func(context.Context, *toolkit.Caller, forms) (string, error) { return "", nil })), toolkittest.User{})
	for name, values := range map[string]struct{ good, bad []string }{
		"date": {[]string{"2026-11-26"}, []string{"2026-11-31", "26.11.2026", "2026-11-26T10:00:00Z"}},
		"time": {[]string{"10:00:00Z", "10:00:00.5+01:00"}, []string{"10:00", "25:00:00Z"}},
		"mail": {[]string{"ada@contoso.com"}, []string{"ada", "Ada <ada@contoso.com>"}},
		"uri":  {[]string{"https://example.com/x", "urn:x:y"}, []string{"/x", "x", "://"}},
		"uuid": {[]string{"0b1c3f52-7c1e-4d52-9a52-5d5d2b6f0001"}, []string{"0b1c3f527c1e4d529a525d5d2b6f0001", "x"}},
		"host": {[]string{"a-b.example"}, []string{"-a.example", "a_b", "a..b", strings.Repeat("a.", 127)}},
		"ipv4": {[]string{"192.0.2.1"}, []string{"::1", "192.0.2"}},
		"ipv6": {[]string{"2001:db8::1"}, []string{"192.0.2.1", "fe80::1%eth0"}},
	} {
		for _, value := range values.good {
			if got := client.Call("x", map[string]any{name: value}); got.Failed {
				t.Errorf("%s %q: %s", name, value, got.Text)
			}
		}
		for _, value := range values.bad {
			if got := client.Call("x", map[string]any{name: value}); !got.Failed || !strings.Contains(got.Text, "is not of the format") {
				t.Errorf("%s %q: %q", name, value, got.Text)
			}
		}
	}
}

// TestToolsThatCannotWorkDoNotStart: the program says which field is wrong and why.
func TestToolsThatCannotWorkDoNotStart(t *testing.T) {
	named := func(name, description string) {
		toolkit.Define(name, description, func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil })
	}
	for want, define := range map[string]func(){
		"not a struct": func() { defined[string]() },
		"decodes itself": func() {
			defined[struct {
				N json.Number
				M selfDecoding
			}]()
		},
		"List: chan int cannot be": func() { defined[struct{ List []chan int }]() },
		"Keys: [4]uint8 would be":  func() { defined[struct{ Keys [4]byte }]() },
		"keys that are not strings": func() {
			toolkit.Define("x", "x", func(context.Context, *toolkit.Caller, struct{}) (map[int]string, error) { return nil, nil })
		},
		"Any: interface {} says":                 func() { defined[struct{ Any any }]() },
		"Raw: json.RawMessage says":              func() { defined[struct{ Raw json.RawMessage }]() },
		"Bytes: []uint8 would":                   func() { defined[struct{ Bytes []byte }]() },
		"Map: map[string]int is an":              func() { defined[struct{ Map map[string]int }]() },
		"Life: time.Duration is":                 func() { defined[struct{ Life time.Duration }]() },
		"Func: func() cannot be encoded as JSON": func() { defined[struct{ Func func() }]() },
		"contains itself":                        func() { defined[recursive]() },
		"minimum is above maximum": func() {
			defined[struct {
				N int `minimum:"2" maximum:"1"`
			}]()
		},
		"minLength is above": func() {
			defined[struct {
				S string `minLength:"2" maxLength:"1"`
			}]()
		},
		"minItems is above": func() {
			defined[struct {
				L []string `minItems:"2" maxItems:"1"`
			}]()
		},
		"is not a number": func() {
			defined[struct {
				N int `minimum:"x"`
			}]()
		},
		"is not a count": func() {
			defined[struct {
				S string `maxLength:"-1"`
			}]()
		},
		`the tag maximum: "x" is not a number`: func() {
			defined[struct {
				N int `maximum:"x"`
			}]()
		},
		`the tag minLength: "x" is not a count`: func() {
			defined[struct {
				S string `minLength:"x"`
			}]()
		},
		`the tag maxItems: "-1" is not a count`: func() {
			defined[struct {
				L []string `maxItems:"-1"`
			}]()
		},
		`the tag examples: "200"`: func() {
			defined[struct {
				L []int8 `examples:"1,200"`
			}]()
		},
		"tag enum is for string": func() {
			defined[struct {
				N int `enum:"1,2"`
			}]()
		},
		"tag pattern is for string": func() {
			defined[struct {
				N int `pattern:"1"`
			}]()
		},
		"tag minItems is for array": func() {
			defined[struct {
				S string `minItems:"1"`
			}]()
		},
		"tag pattern: error parsing": func() {
			defined[struct {
				S string `pattern:"("`
			}]()
		},
		"is not one of date, ": func() {
			defined[struct {
				S string `format:"phone"`
			}]()
		},
		"lists an empty value": func() {
			defined[struct {
				S string `enum:"a,,b"`
			}]()
		},
		"tag default: ": func() {
			defined[struct {
				N int `default:"many"`
			}]()
		},
		"default: it: 12 is more than 10": func() {
			defined[struct {
				N int `default:"12" maximum:"10"`
			}]()
		},
		"tag examples": func() {
			defined[struct {
				N int `examples:"12" maximum:"10"`
			}]()
		},
		"the name must match": func() { named("Bad-Name", "x") },
		`tool "": the name`:   func() { named("", "x") },
		`the tag enum: "abc"`: func() {
			defined[struct {
				S string `enum:"a,abc" maxLength:"2"`
			}]()
		},
		"the tag minItems: \"x\"": func() {
			defined[struct {
				L []string `minItems:"x"`
			}]()
		},
		"there is no description": func() { named("x", "") },
		"the description has":     func() { named("x", strings.Repeat("x", 1024)) },
		"the result: chan int": func() {
			toolkit.Define("x", "x", func(context.Context, *toolkit.Caller, struct{}) (chan int, error) { return nil, nil })
		},
		"the name is used twice": func() {
			one := toolkit.Define("x", "x", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil })
			toolkit.New(toolkit.Options{Catalogue: offering(one, one)})
		},
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, want) {
					t.Errorf("said %q", got)
				}
			}()
			define()
		})
	}
	defined[struct { // what leaves one value each
		N int      `minimum:"1" maximum:"1"`
		S string   `minLength:"1" maxLength:"1"`
		L []string `minItems:"0" maxItems:"0"`
		M []string `minItems:"1"`
	}]()
}

// TestResultsNeverHoldNull: what is empty has the form that the schema says.
func TestResultsNeverHoldNull(t *testing.T) {
	type row struct {
		Tags  []string            `json:"tags"`
		Notes map[string]int      `json:"notes"`
		Next  *inner              `json:"next"`
		Lists map[string][]string `json:"lists"`
		Free  []any               `json:"free"`
	}
	type result struct {
		Rows []row `json:"rows"`
		One  row   `json:"one"`
		Any  any   `json:"any,omitempty"`
	}
	tools := []toolkit.Tool{
		toolkit.Define("rows", "Rows.", func(context.Context, *toolkit.Caller, struct{}) (result, error) {
			return result{Rows: []row{{}}, One: row{Lists: map[string][]string{"a": nil}, Free: []any{nil, 1}}, Any: []any{"null", nil}}, nil
		}),
		toolkit.Define("list", "List.", func(context.Context, *toolkit.Caller, struct{}) ([]string, error) { return nil, nil }),
	}
	client := toolkittest.SignIn(t, offering(tools...), toolkittest.User{})
	empty := map[string]any{"tags": []any{}, "notes": map[string]any{}, "lists": map[string]any{}, "free": []any{}}
	one := map[string]any{"tags": []any{}, "notes": map[string]any{}, "lists": map[string]any{"a": []any{}}, "free": []any{nil, 1.0}}
	if diff := cmp.Diff(map[string]any{"rows": []any{empty}, "one": one, "any": []any{"null", nil}}, client.Call("rows", nil).Structured); diff != "" {
		t.Error(diff)
	}
	list := client.Call("list", nil)
	if diff := cmp.Diff(map[string]any{"result": []any{}}, list.Structured); diff != "" || list.Text != "[]" {
		t.Error(diff, list.Text)
	}
	schema, _ := json.Marshal(listed(t, tools...)["rows"].OutputSchema)
	if strings.Contains(string(schema), "null") || !strings.Contains(string(schema), `"notes":{"additionalProperties":{"type":"integer"},"type":"object"}`) {
		t.Errorf("the output schema is %s", schema)
	}
}

// TestContentGoesBesideTheStructuredResult, which keeps its schema.
func TestContentGoesBesideTheStructuredResult(t *testing.T) {
	type drawn struct {
		Width int `json:"width"`
	}
	draw := toolkit.Define("draw", "Draw.", func(context.Context, *toolkit.Caller, struct{}) (toolkit.Result[drawn], error) {
		return toolkit.Result[drawn]{Value: drawn{7}, Content: []mcp.Content{
			&mcp.ImageContent{MIMEType: "image/png", Data: []byte{1}}, &mcp.AudioContent{MIMEType: "audio/wav", Data: []byte{2}},
			&mcp.ResourceLink{URI: "https://example.com/", Name: "link"}, &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "x://y", Text: "z"}},
		}}, nil
	})
	for _, revision := range []string{"2025-06-18", "2026-07-28"} {
		got := toolkittest.SignIn(t, offering(draw), toolkittest.User{}, toolkittest.Revision(revision)).Call("draw", nil)
		if diff := cmp.Diff(map[string]any{"width": 7.0}, got.Structured); diff != "" || got.Text != `{"width":7}` || len(got.Raw.Content) != 5 {
			t.Errorf("%s: %s %q, %d pieces", revision, diff, got.Text, len(got.Raw.Content))
		}
	}
	if schema, _ := json.Marshal(listed(t, draw)["draw"].OutputSchema); !strings.Contains(string(schema), `"width":{"type":"integer"}`) {
		t.Errorf("the output schema is %s", schema)
	}
}

// TestHintsAreAllExplicit: what is left out means the worst to a client.
func TestHintsAreAllExplicit(t *testing.T) {
	nothing := func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil }
	tools := listed(t,
		toolkit.Define("plain_tool", "Plain.", nothing),
		toolkit.Define("reads", "Reads.", nothing, toolkit.ReadOnly(), toolkit.ClosedWorld(), toolkit.Title("Reads things")),
		toolkit.Define("adds", "Adds.", nothing, toolkit.Additive(), toolkit.Idempotent()),
	)
	for name, want := range map[string]string{
		"plain_tool": `{"destructiveHint":true,"idempotentHint":false,"openWorldHint":true,"readOnlyHint":false,"title":"Plain tool"}`,
		"reads":      `{"destructiveHint":false,"idempotentHint":true,"openWorldHint":false,"readOnlyHint":true,"title":"Reads things"}`,
		"adds":       `{"destructiveHint":false,"idempotentHint":true,"openWorldHint":true,"readOnlyHint":false,"title":"Adds"}`,
	} {
		if diff := cmp.Diff(decoded(t, want), decoded(t, tools[name].Annotations)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if tools[name].Title == "" || tools[name].Description == "" {
			t.Errorf("%s has no title or description", name)
		}
	}
}
