package mcphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
)

// Place is where values that are JSON already can go into the answer of one
// request. The SDK encodes a result inside out: each part that encodes itself, and
// each that is encoded, is read again and copied by every layer around it, which
// for a large result is most of the work. So the SDK gets a short string to pass
// on, and the value takes its place when the answer is written.
type Place struct{ answer *answer }

type placeKey struct{}

// PlaceIn is that of the request of ctx, if Handler serves it.
func PlaceIn(ctx context.Context) (Place, bool) {
	a, ok := ctx.Value(placeKey{}).(*answer)
	return Place{a}, ok
}

// RequestID is the id of the call in the request of ctx, as it was written. It is
// empty in a batch, and in the revisions whose bodies nobody reads before the SDK.
func RequestID(ctx context.Context) string {
	a, ok := ctx.Value(placeKey{}).(*answer)
	if !ok {
		return ""
	}
	return string(a.requestID())
}

// placed is one value. Its mark is a string in JSON that nobody else can have
// written: it is random and never sent.
type placed struct{ mark, value []byte }

// Put returns what stands for value in JSON that the SDK is given, once. It is the
// part of one message. value must not be changed any more. Line breaks between its
// parts are left out, as the SDK does: they would end the line of an event.
func (p Place) Put(value []byte) []byte {
	if bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0 {
		var line bytes.Buffer
		if err := json.Compact(&line, value); err == nil {
			value = line.Bytes()
		}
	}
	mark := append(make([]byte, 0, 48), `"placed `...)
	mark = strconv.AppendUint(strconv.AppendUint(mark, rand.Uint64(), 36), rand.Uint64(), 36)
	mark = append(mark, '"')
	p.answer.mu.Lock()
	defer p.answer.mu.Unlock()
	p.answer.places = append(p.answer.places, placed{mark, value})
	return mark
}

// pieces are data with the value in its place, to be written one after the other.
func (a *answer) pieces(data []byte) [][]byte {
	for i, p := range a.places {
		before, after, found := bytes.Cut(data, p.mark)
		if found {
			a.places = append(a.places[:i], a.places[i+1:]...)
			return [][]byte{before, p.value, after}
		}
	}
	return [][]byte{data}
}
