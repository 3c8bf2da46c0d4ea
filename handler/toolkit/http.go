package toolkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
)

// Handler serves MCP over streamable HTTP in every revision the SDK speaks, without
// sessions. It trusts that a bearer check stands in front, which also judges Host and
// Origin: behind the Functions host every connection comes from loopback and carries
// the public name, which the SDK's own check would refuse.
func (s *Server) Handler() http.Handler {
	sdk := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp }, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		DisableLocalhostProtection:   true,
		MaxRequestBodyBytes:          maxBody,
		PropagateRequestCancellation: true,
		Logger:                       s.log,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w}
		if r.Method == http.MethodPost && r.Header.Get("Mcp-Protocol-Version") < firstRounds {
			if done := s.legacy(x, r); done {
				return
			}
		}
		defer x.end()
		sdk.ServeHTTP(x, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

// legacy does what the SDK leaves undone in revisions before 2026-07-28: it refuses
// unknown methods in JSON-RPC's terms instead of HTTP's, and cancels calls. It
// returns whether the request is answered.
func (s *Server) legacy(x *exchange, r *http.Request) (done bool) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	r.Body = again(body, err, r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			RequestID json.RawMessage `json:"requestId"`
		} `json:"params"`
	}
	if err != nil || len(body) > maxBody || json.Unmarshal(body, &m) != nil {
		return false // for the SDK to refuse; a batch has no id of its own either
	}
	x.id = string(m.ID)
	switch {
	case m.Method == "notifications/cancelled":
		if info := auth.TokenInfoFromContext(r.Context()); info != nil {
			if access, ok := info.Extra[grants.AccessKey].(*grants.Access); ok && access != nil {
				s.running.cancel(runKey(access), string(m.Params.RequestID))
			}
		}
	case x.id != "" && m.Method != "" && !known[m.Method]:
		answer, err := json.Marshal(map[string]any{
			"jsonrpc": "2.0", "id": m.ID,
			"error": jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "This server does not have this method."},
		})
		if err != nil {
			return false
		}
		x.Header().Set("Content-Type", "application/json")
		_, _ = x.Write(answer)
		return true
	}
	return false
}

// again is a body that begins with what was read of it, and ends as that did.
func again(read []byte, err error, rest io.ReadCloser) io.ReadCloser {
	tail := io.Reader(rest)
	if err != nil {
		tail = failing{err}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), tail), rest}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// known are the methods of requests in the revisions before 2026-07-28.
var known = map[string]bool{
	"initialize": true, "ping": true, "server/discover": true, "logging/setLevel": true, "completion/complete": true,
	"tools/list": true, "tools/call": true, "prompts/list": true, "prompts/get": true,
	"resources/list": true, "resources/templates/list": true, "resources/read": true,
	"resources/subscribe": true, "resources/unsubscribe": true, "subscriptions/listen": true,
}

// exchange is one HTTP request as the calls in it see it. It keeps the answer's
// stream alive while a call is silent: hosts and proxies cut what is idle.
type exchange struct {
	http.ResponseWriter
	id string // the JSON-RPC id of the one call, as it was written, in earlier revisions

	mu      sync.Mutex
	began   bool // something of the body was sent
	late    bool // an answer of another kind came after that
	over    bool
	written time.Time
	timer   *time.Timer
}

type exchangeKey struct{}

// A stream says something within a second, so that whoever waits for the headers gets
// them, and then every 20 seconds.
const (
	firstComment = 900 * time.Millisecond
	nextComments = 20 * time.Second
)

// keepAlive writes a comment whenever nothing was written for a while, until the
// exchange ends. The SDK has set the headers of the answer when a call runs.
func keepAlive(ctx context.Context) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.timer == nil && !x.over {
		x.timer = time.AfterFunc(firstComment, x.comment)
	}
}

func (x *exchange) comment() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over || !strings.HasPrefix(x.Header().Get("Content-Type"), "text/event-stream") {
		return
	}
	if silent := time.Since(x.written); silent >= nextComments || !x.began {
		// A line that begins with a colon is ignored (HTML, "Server-sent events").
		_, _ = io.WriteString(x.ResponseWriter, ": keep-alive\n\n")
		_ = http.NewResponseController(x.ResponseWriter).Flush()
		x.began, x.written = true, time.Now()
	}
	x.timer.Reset(max(time.Millisecond, nextComments-time.Since(x.written)))
}

func (x *exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	if x.timer != nil {
		x.timer.Stop()
	}
}

// WriteHeader sends the status. Once a stream has begun there is none to send: what
// follows becomes an event of it.
func (x *exchange) WriteHeader(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.began {
		x.late = true
		return
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.began, x.written = true, time.Now()
	if x.late {
		x.late = false
		if _, err := fmt.Fprintf(x.ResponseWriter, "event: message\ndata: %s\n\n", p); err != nil {
			return 0, err
		}
		return len(p), http.NewResponseController(x.ResponseWriter).Flush()
	}
	return x.ResponseWriter.Write(p)
}

// FlushError sends what was written.
func (x *exchange) FlushError() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// running are the calls of earlier revisions on this instance, which a notification
// can cancel: there, a closed connection means nothing.
type running struct {
	mu    sync.Mutex
	calls map[string][]*context.CancelCauseFunc
}

var errCancelled = errors.New("the client cancelled the request")

// add lets a notification cancel the call with the id, until remove is called.
func (r *running) add(grant, id string, cancel context.CancelCauseFunc) (remove func()) {
	key := grant + " " + id
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[string][]*context.CancelCauseFunc{}
	}
	r.calls[key] = append(r.calls[key], &cancel)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		left := r.calls[key][:0]
		for _, c := range r.calls[key] {
			if c != &cancel {
				left = append(left, c)
			}
		}
		if r.calls[key] = left; len(left) == 0 {
			delete(r.calls, key)
		}
	}
}

// cancel ends the call with the id if there is exactly one: clients count their ids
// from 1, so two sessions of one sign-in may share one, and which is meant is unknown.
func (r *running) cancel(grant, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if calls := r.calls[grant+" "+id]; len(calls) == 1 && grant != "" && id != "" {
		(*calls[0])(errCancelled)
	}
}
