// Package json stands in for github.com/segmentio/encoding/json, of which the
// MCP SDK uses one type: a Decoder that matches the names of struct fields
// exactly. The original allocates a buffer of 32 KiB for every Decoder, and the
// SDK makes about a dozen for each request; this one reads a *bytes.Reader in
// place.
//
// The rules are those of encoding/json, but for case: the last of duplicate
// names counts, null leaves a value as it is, and what follows the first value
// stays unread. go.mod of the main module names this one in a replace directive.
// It can go once the SDK decodes from the slice it has
// (internal/json.Unmarshal), or with the encoding/json/v2 of a Go release.
package json

import (
	"bytes"
	"errors"
	"io"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

var (
	anyCase   = jsonv1.DefaultOptionsV1()
	exactCase = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv2.MatchCaseInsensitiveNames(false))
)

// Decoder reads JSON values from a stream.
type Decoder struct {
	exact  bool              // names of struct fields match exactly
	stream *jsontext.Decoder // nil for a *bytes.Reader
	rest   []byte            // of a *bytes.Reader
	scanner
}

// NewDecoder reads from r. A *bytes.Reader is read without a copy; no decoded
// value shares memory with it.
func NewDecoder(r io.Reader) *Decoder {
	d := &Decoder{}
	if b, ok := r.(*bytes.Reader); ok {
		// WriteTo gives the bytes in one piece.
		_, _ = b.WriteTo((*inPlace)(&d.rest))
	} else {
		d.stream = jsontext.NewDecoder(r, anyCase)
	}
	return d
}

// DontMatchCaseInsensitiveStructFields makes the names of struct fields match
// exactly.
func (d *Decoder) DontMatchCaseInsensitiveStructFields() { d.exact = true }

func (d *Decoder) options() jsonv2.Options {
	if d.exact {
		return exactCase
	}
	return anyCase
}

// Decode reads the next value into v. At the end of the stream the error is
// io.EOF, and io.ErrUnexpectedEOF within a value.
func (d *Decoder) Decode(v any) error {
	if d.stream != nil {
		return cutOff(jsonv2.UnmarshalDecode(d.stream, v, d.options()))
	}
	if d.exact {
		d.scanner = scanner{data: d.rest}
		if n, taken, err := d.plain(v); taken {
			d.rest = d.rest[n:]
			return err
		}
	}
	return d.full(v)
}

// full is the decoder for everything.
func (d *Decoder) full(v any) error {
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	defer p.reset(nil)
	p.reset(d.rest)
	err := jsonv2.UnmarshalDecode(p.dec, v, d.options())
	d.rest = d.rest[p.dec.InputOffset():]
	return cutOff(err)
}

// cutOff gives the end of the stream within a value the name that a Decoder
// has for it. The legacy options have only a text.
func cutOff(err error) error {
	if syntax := (*jsonv1.SyntaxError)(nil); errors.As(err, &syntax) && syntax.Error() == "unexpected end of JSON input" {
		return io.ErrUnexpectedEOF
	}
	return err
}

type inPlace []byte

func (p *inPlace) Write(b []byte) (int, error) {
	*p = b
	return len(b), nil
}

// parser is a decoder and the buffer that it reads in place. It keeps its own
// state between two values and nothing of theirs.
type parser struct {
	buf bytes.Buffer
	dec *jsontext.Decoder
}

func (p *parser) reset(b []byte) {
	p.buf = *bytes.NewBuffer(b)
	p.dec.Reset(&p.buf, anyCase)
}

var parsers = sync.Pool{New: func() any {
	p := &parser{}
	p.dec = jsontext.NewDecoder(&p.buf, anyCase)
	return p
}}
