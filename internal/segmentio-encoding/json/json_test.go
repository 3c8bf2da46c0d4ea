package json

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// message has the shape of the SDK's JSON-RPC messages.
type message struct {
	Version string             `json:"jsonrpc"`
	ID      any                `json:"id,omitempty"`
	Method  string             `json:"method,omitempty"`
	Params  stdjson.RawMessage `json:"params,omitempty"`
}

const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello_world","arguments":{"name":"Ada"}}}`

func exact(r io.Reader) *Decoder {
	d := NewDecoder(r)
	d.DontMatchCaseInsensitiveStructFields()
	return d
}

func TestRulesOfDecoding(t *testing.T) {
	type fields struct {
		Name  string         `json:"name"`
		Count int            `json:"count"`
		List  []string       `json:"list"`
		Map   map[string]any `json:"map"`
	}
	for name, tt := range map[string]struct {
		text string
		want fields
		err  string
	}{
		"names match exactly":                {`{"Name":"x","NAME":"y","name":"z"}`, fields{Name: "z"}, ""},
		"only another case":                  {`{"Name":"x","cOunt":1}`, fields{}, ""},
		"the last duplicate counts":          {`{"name":"x","name":"y"}`, fields{Name: "y"}, ""},
		"null after a duplicate is skipped":  {`{"name":"x","name":null}`, fields{Name: "x"}, ""},
		"null leaves zero":                   {`{"name":null,"count":null,"list":null,"map":null}`, fields{}, ""},
		"unknown names are ignored":          {`{"other":{"name":"x"},"count":2}`, fields{Count: 2}, ""},
		"what follows the value is not read": {`{"count":1} {"count":2} nonsense`, fields{Count: 1}, ""},
		"numbers are float64":                {`{"map":{"a":1e2}}`, fields{Map: map[string]any{"a": 100.0}}, ""},
		"escapes":                            {`{"name":"\u0041\ud83d\ude00\/"}`, fields{Name: "A\U0001F600/"}, ""},
		"invalid UTF-8 is replaced":          {"{\"name\":\"a\xffb\"}", fields{Name: "a\ufffdb"}, ""},
		"cut off":                            {`{"name":"x`, fields{}, "unexpected EOF"},
		"empty":                              {``, fields{}, "EOF"},
		"leading zero":                       {`{"count":01}`, fields{}, "invalid"},
		"single quotes":                      {`{'name':1}`, fields{}, "invalid"},
		"wrong type":                         {`{"name":1}`, fields{}, "number"},
	} {
		t.Run(name, func(t *testing.T) {
			for way, r := range map[string]io.Reader{"in place": bytes.NewReader([]byte(tt.text)), "stream": iotest.OneByteReader(strings.NewReader(tt.text))} {
				var got fields
				err := exact(r).Decode(&got)
				if tt.err == "" && (err != nil || !reflect.DeepEqual(got, tt.want)) {
					t.Errorf("%s: %+v %v, want %+v", way, got, err, tt.want)
				}
				if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("%s: error %v, want %q in it", way, err, tt.err)
				}
			}
		})
	}
}

func TestWithoutTheOptionCaseDoesNotMatter(t *testing.T) {
	var got message
	if err := NewDecoder(strings.NewReader(`{"METHOD":"x"}`)).Decode(&got); err != nil || got.Method != "x" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestValuesAreReadOneAfterTheOther(t *testing.T) {
	for way, r := range map[string]io.Reader{"in place": bytes.NewReader([]byte("1 2\n3")), "stream": strings.NewReader("1 2\n3")} {
		d := exact(r)
		for want := 1; want <= 3; want++ {
			var got int
			if err := d.Decode(&got); err != nil || got != want {
				t.Errorf("%s: %d %v, want %d", way, got, err, want)
			}
		}
		if err := d.Decode(new(int)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", way, err)
		}
	}
}

// TestNoDecodedValueSharesMemoryWithTheInput: callers reuse their buffers.
func TestNoDecodedValueSharesMemoryWithTheInput(t *testing.T) {
	text := []byte(call)
	var got message
	if err := exact(bytes.NewReader(text)).Decode(&got); err != nil {
		t.Fatal(err)
	}
	var anything map[string]any
	if err := exact(bytes.NewReader(text)).Decode(&anything); err != nil {
		t.Fatal(err)
	}
	clear(text)
	for range 4 { // pooled parsers read other texts meanwhile
		if err := exact(strings.NewReader(strings.Repeat("[", 50) + strings.Repeat("]", 50))).Decode(new(any)); err != nil {
			t.Fatal(err)
		}
	}
	if got.Method != "tools/call" || string(got.Params) != `{"name":"hello_world","arguments":{"name":"Ada"}}` || anything["method"] != "tools/call" {
		t.Errorf("%+v %v", got, anything)
	}
}

type nested struct{ inner message }

func (n *nested) UnmarshalJSON(b []byte) error { return exact(bytes.NewReader(b)).Decode(&n.inner) }

func TestDecodersNest(t *testing.T) {
	var got []nested
	if err := exact(strings.NewReader("[" + call + "," + call + "]")).Decode(&got); err != nil || len(got) != 2 || got[1].inner.Method != "tools/call" {
		t.Errorf("%+v %v", got, err)
	}
}

// TestADecoderCostsNoBuffer is why this package exists: the original takes
// 33,000 bytes for the same message.
func TestADecoderCostsNoBuffer(t *testing.T) {
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		text := []byte(call)
		for b.Loop() {
			var got message
			if err := exact(bytes.NewReader(text)).Decode(&got); err != nil {
				b.Fatal(err)
			}
		}
	})
	if result.AllocedBytesPerOp() > 1024 {
		t.Errorf("%d bytes per message", result.AllocedBytesPerOp())
	}
}

// FuzzLikeTheStandardLibrary: but for case, which neither map nor RawMessage
// has, a value decodes as encoding/json decodes it.
func FuzzLikeTheStandardLibrary(f *testing.F) {
	for _, s := range []string{call, `{"a":1,"a":2}`, `[null,true,1e400,"\ud800"]`, "\"\xff\"", `{"a":{"b":[{}]}} x`, `nul`, ``, ` `, `"\u12"`, `-0`, `[1,]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want any
		gotErr := exact(bytes.NewReader(text)).Decode(&got)
		wantErr := stdjson.NewDecoder(bytes.NewReader(text)).Decode(&want)
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/json says %v", text, gotErr, wantErr)
		}
		if gotErr == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, want %#v", text, got, want)
		}
		var stream any
		if err := exact(iotest.OneByteReader(bytes.NewReader(text))).Decode(&stream); (err == nil) != (gotErr == nil) || (err == nil && !reflect.DeepEqual(stream, got)) {
			t.Fatalf("%q: as a stream %#v %v, in place %#v %v", text, stream, err, got, gotErr)
		}
	})
}
