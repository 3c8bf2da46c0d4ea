package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
)

// Handler serves MCP over streamable HTTP in every revision that the SDK supports,
// without sessions. It relies on a bearer check in front of it, which also checks
// Host and Origin: behind the Functions host every connection comes from loopback and
// carries the public name, which the SDK's own check would refuse.
//
// Call it after Extend: the result that is encoded is the one that has passed all
// middleware.
func (s *Server) Handler() http.Handler {
	s.mcp.AddReceivingMiddleware(s.placing)
	sdk := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp }, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		DisableLocalhostProtection:   true,
		MaxRequestBodyBytes:          mcphttp.MaxBody,
		PropagateRequestCancellation: true,
		Logger:                       s.log,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body := mcphttp.ReadBody(r); body != nil {
			s.passOnCancellation(r.Context(), body)
		}
		sdk.ServeHTTP(w, r)
	})
}

// passOnCancellation does what the SDK leaves undone in revisions before 2026-07-28:
// it passes on the notification that cancels a call.
func (s *Server) passOnCancellation(ctx context.Context, body *mcphttp.Body) {
	m, err := body.Message()
	if err != nil || m.Method != "notifications/cancelled" {
		return
	}
	var params struct {
		RequestID json.RawMessage `json:"requestId"`
	}
	if mcphttp.Decode(m.Params, &params) != nil {
		return
	}
	if info := auth.TokenInfoFromContext(ctx); info != nil {
		if access, ok := info.Extra[grants.AccessKey].(*grants.Access); ok && access != nil {
			s.running.cancel(runKey(access), string(params.RequestID))
		}
	}
}

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
