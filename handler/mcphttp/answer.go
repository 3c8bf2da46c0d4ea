package mcphttp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"entramcp/handler/oauth"
)

// form is what an answer has become.
type form int

const (
	undecided form = iota
	plain          // not an event stream: passed on as it is
	collected      // JSON for a client that takes nothing else
	finished       // JSON that has been written
	stream
	refused // plain text of the SDK, to become a JSON-RPC error
)

// answer is the http.ResponseWriter of the SDK. The SDK writes one event at a
// time, from the goroutine of the call.
type answer struct {
	w            http.ResponseWriter
	body         *Body       // nil if nobody has read it before the SDK
	header       http.Header // the SDK's: it is copied when the answer begins
	takes        accepted
	commentEvery time.Duration

	mu      sync.Mutex
	form    form
	timer   *time.Timer
	status  int
	places  []placed
	results []json.RawMessage // to be one JSON answer
	text    []byte            // what the SDK says of a refusal
}

var (
	dataPrefix = []byte("data: ")
	eventEnd   = []byte("\n\n")
	// notification is how the SDK begins every message that is not a response:
	// a stateless server sends no requests.
	notification = []byte(`{"jsonrpc":"2.0","method":`)
)

func (a *answer) Header() http.Header { return a.header }

// start waits for the result from now on.
func (a *answer) start(streamAfter time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.form == undecided {
		a.timer = time.AfterFunc(streamAfter, a.waited)
	}
}

func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begin(status)
}

// begin decides on the form by what the SDK has put into its header.
func (a *answer) begin(status int) {
	if a.status != 0 {
		return
	}
	a.status = status
	kind := a.header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "text/event-stream") || a.form == stream:
	case status == http.StatusBadRequest && strings.HasPrefix(kind, "text/plain"):
		a.decide(refused)
	default:
		a.decide(plain)
		a.commit(status)
	}
}

func (a *answer) decide(f form) {
	a.form = f
	if a.timer != nil && f != stream {
		a.timer.Stop()
	}
}

// commit sends the SDK's header, but for what concerns the connection, which is
// not the SDK's.
func (a *answer) commit(status int) {
	h := a.w.Header()
	for name, values := range a.header {
		if name != "Connection" && name != "Cache-Control" {
			h[name] = values
		}
	}
	a.w.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begin(http.StatusOK)
	switch a.form {
	case plain:
		return a.w.Write(p)
	case refused:
		a.text = append(a.text, p...)
		return len(p), nil
	case finished:
		return len(p), nil
	}
	_, data, isEvent := bytes.Cut(p, dataPrefix)
	if a.form == stream {
		if !isEvent { // a refusal that came after the stream had to begin
			return len(p), a.event(bytes.TrimSpace(p))
		}
		return len(p), a.write(a.pieces(p))
	}
	data = bytes.TrimSuffix(data, eventEnd)
	isResult := isEvent && len(data) > 0 && !bytes.HasPrefix(data, notification)
	switch {
	case !a.takes.stream:
		if isResult {
			a.results = append(a.results, slices.Concat(a.pieces(data)...))
		}
		a.decide(collected)
	case !isResult || !a.takes.json || a.takes.preferStream:
		a.open()
		return len(p), a.write(a.pieces(p))
	case a.batch():
		// The others may come later: all of them, or those within the time.
		a.results = append(a.results, slices.Concat(a.pieces(data)...))
	default:
		a.decide(finished)
		a.writeJSON(a.pieces(data)...)
	}
	return len(p), nil
}

// batch reports whether the request is a batch, whose answer is one too. Revisions
// whose bodies are not read here have none.
func (a *answer) batch() bool { return a.body != nil && a.body.Batch() }

// Flush is called by the SDK after each event.
func (a *answer) Flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.form == stream || a.form == plain {
		_ = http.NewResponseController(a.w).Flush()
	}
}

// waited makes a stream of an answer that takes its time, and shows that it
// lives.
func (a *answer) waited() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.form {
	case undecided:
		a.open()
	case stream:
	default:
		return
	}
	_, _ = a.w.Write([]byte(": \n\n"))
	_ = http.NewResponseController(a.w).Flush()
	a.timer.Reset(a.commentEvery)
}

// open begins a stream with what was meant to be JSON.
func (a *answer) open() {
	a.decide(stream)
	h := a.w.Header()
	h.Set("Content-Type", "text/event-stream")
	// Proxies that compress hold events back.
	h.Set("Cache-Control", "no-store, no-transform")
	a.w.WriteHeader(http.StatusOK)
	for _, data := range a.results {
		_ = a.event(data)
	}
	a.results = nil
	if a.timer != nil {
		a.timer.Reset(a.commentEvery)
	}
}

func (a *answer) event(data []byte) error {
	_, err := a.w.Write(slices.Concat([]byte("event: message\n"), dataPrefix, data, eventEnd))
	return err
}

func (a *answer) writeJSON(body ...[]byte) {
	length := 0
	for _, piece := range body {
		length += len(piece)
	}
	h := a.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(length))
	h.Set("Cache-Control", "no-store")
	a.w.WriteHeader(http.StatusOK)
	_ = a.write(body)
}

func (a *answer) write(pieces [][]byte) error {
	for _, piece := range pieces {
		if _, err := a.w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// end writes what was kept back. The SDK writes nothing any more.
func (a *answer) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	switch {
	case a.form == refused:
		a.refuse()
	case a.form == collected || a.form == undecided && len(a.results) > 0:
		a.form = finished
		if !a.batch() && len(a.results) == 1 {
			a.writeJSON(a.results[0])
			return
		}
		body, err := json.Marshal(a.results)
		if err == nil {
			a.writeJSON(body)
		}
	}
	a.form = finished
}

// The error codes of JSON-RPC 2.0 §5.1.
const (
	invalidRequest = -32600
	methodNotFound = -32601
)

// notHandled is how the SDK's text about a method that does not exist begins.
const notHandled = "JSON RPC not handled"

// refuse turns the SDK's plain text into a JSON-RPC error. A request for a
// method that does not exist is answered with 200, as other servers do: clients
// take any other status for a broken connection.
func (a *answer) refuse() {
	text := strings.TrimSpace(string(a.text))
	id := a.requestID()
	if id != nil && strings.HasPrefix(text, notHandled) {
		oauth.WriteJSON(a.w, http.StatusOK, rpcError(id, methodNotFound, "Method not found."))
		return
	}
	oauth.WriteJSON(a.w, a.status, rpcError(id, invalidRequest, text))
}

// requestID is the id of the one request of the body, as it was written, or nil.
func (a *answer) requestID() json.RawMessage {
	if a.body == nil {
		return nil
	}
	m, err := a.body.Message()
	if err != nil || string(m.ID) == "null" {
		return nil
	}
	return m.ID
}

// errorResponse is the error response of JSON-RPC 2.0 §5.
type errorResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func rpcError(id json.RawMessage, code int, message string) errorResponse {
	r := errorResponse{Version: "2.0", ID: id}
	r.Error.Code, r.Error.Message = code, message
	return r
}
