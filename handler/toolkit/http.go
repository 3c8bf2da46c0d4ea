package toolkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	sdkjson "github.com/segmentio/encoding/json"

	"entramcp/handler/grants"
)

// Handler serves MCP over streamable HTTP in every revision the SDK speaks, without
// sessions. It relies on a bearer check in front of it, which also checks Host and
// Origin: behind the Functions host every connection comes from loopback and carries
// the public name, which the SDK's own check would refuse.
//
// What Extend adds to the server must be there before: the result that is encoded is
// the one that has passed all middleware.
func (s *Server) Handler() http.Handler {
	s.mcp.AddReceivingMiddleware(s.placing)
	sdk := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp }, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		DisableLocalhostProtection:   true,
		MaxRequestBodyBytes:          maxBody,
		PropagateRequestCancellation: true,
		Logger:                       s.log,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.Header.Get("Mcp-Protocol-Version") < firstRounds {
			r = s.cancellable(r)
		}
		sdk.ServeHTTP(w, r)
	})
}

// requestIDKey is the context key of the JSON-RPC id of the one call of a request,
// as it was written, in earlier revisions.
type requestIDKey struct{}

// cancellable does what the SDK leaves undone in revisions before 2026-07-28: it
// passes on notifications that cancel a call, and tells a call its id.
func (s *Server) cancellable(r *http.Request) *http.Request {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	r.Body = again(body, err, r.Body)
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err != nil || len(body) > maxBody || unmarshal(body, &m) != nil {
		return r // for the SDK to refuse; a batch has no id of its own either
	}
	if m.Method == "notifications/cancelled" {
		var params struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		if unmarshal(m.Params, &params) != nil {
			return r
		}
		if info := auth.TokenInfoFromContext(r.Context()); info != nil {
			if access, ok := info.Extra[grants.AccessKey].(*grants.Access); ok && access != nil {
				s.running.cancel(runKey(access), string(params.RequestID))
			}
		}
	}
	return r.WithContext(context.WithValue(r.Context(), requestIDKey{}, string(m.ID)))
}

// unmarshal reads as the SDK does.
func unmarshal(data []byte, v any) error {
	in := sdkjson.NewDecoder(bytes.NewReader(data))
	in.DontMatchCaseInsensitiveStructFields()
	return in.Decode(v)
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
