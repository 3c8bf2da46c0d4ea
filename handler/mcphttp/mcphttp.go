// Package mcphttp adapts the SDK's streamable HTTP handler to clients in use: JSON
// or an event stream as the client asks, streams that outlast the idle limits of
// proxies, and errors in the form of JSON-RPC.
package mcphttp

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"entramcp/handler/oauth"
)

const (
	// streamAfter is how long a result may take to be plain JSON. After that
	// the answer becomes a stream, so that the client sees it begin.
	streamAfter = time.Second
	// commentEvery is how often a stream without events shows that it lives.
	commentEvery = 20 * time.Second
)

// Handler serves next, which must be the SDK's streamable HTTP handler in its
// event stream mode. A client that sends no Accept takes everything (RFC 9110
// §12.5.1). One that takes JSON gets JSON, if the result comes within a second and
// before any notification or if it takes nothing else; notifications are left out
// then. Everything else is an event stream.
func Handler(next http.Handler) http.Handler { return handler(next, streamAfter, commentEvery) }

func handler(next http.Handler, streamAfter, commentEvery time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		takes := parseAccept(r.Header.Values("Accept"))
		if !takes.json && !takes.stream || takes.json && !takes.stream && r.Header.Get("Mcp-Method") == "subscriptions/listen" {
			oauth.WriteJSON(w, http.StatusNotAcceptable, rpcError(nil, invalidRequest, "The Accept header must allow both application/json and text/event-stream."))
			return
		}
		// The SDK wants both. The header is the guard's copy.
		r.Header["Accept"] = acceptBoth
		a := &answer{w: w, body: ReadBody(r), header: http.Header{}, takes: takes, commentEvery: commentEvery}
		switch {
		case !takes.stream:
		case a.body != nil && a.body.rest == nil:
			a.start(streamAfter)
		default:
			r.Body = &readBody{r.Body, func() { a.start(streamAfter) }}
		}
		defer a.end()
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), placeKey{}, a)))
	})
}

// readBody calls read once, when the body has been read to its end.
type readBody struct {
	io.ReadCloser
	read func()
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.read != nil {
		b.read()
		b.read = nil
	}
	return n, err
}

var acceptBoth = []string{"application/json, text/event-stream"}

// accepted is what a client takes.
type accepted struct {
	json, stream bool
	// preferStream says that it wants a stream rather than JSON.
	preferStream bool
}

// parseAccept reads Accept (RFC 9110 §12.5.1): the most specific range counts,
// and a weight of 0 refuses.
func parseAccept(lines []string) accepted {
	if len(lines) == 0 || lines[0] == acceptBoth[0] && len(lines) == 1 { // nearly always
		return accepted{json: true, stream: true}
	}
	weights := map[string]float64{}
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			media, parameters, _ := strings.Cut(entry, ";")
			weights[strings.ToLower(strings.TrimSpace(media))] = weight(parameters)
		}
	}
	of := func(ranges ...string) float64 {
		for _, r := range ranges {
			if q, ok := weights[r]; ok {
				return q
			}
		}
		return 0
	}
	json, stream := of("application/json", "application/*", "*/*"), of("text/event-stream", "text/*", "*/*")
	return accepted{json: json > 0, stream: stream > 0, preferStream: stream > json}
}

// weight is the q of the parameters of a media range: 1 if there is none.
func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
