package toolkit

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// watch logs every call of a tool and keeps a panic anywhere in a request from
// ending the process: the SDK runs requests on goroutines of its own, out of
// reach of net/http's recover. Arguments and results are never logged.
func (s *Server) watch(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		start := s.now()
		outcome := "error"
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(ctx, "request panicked", "method", method, "value", p, "stack", string(debug.Stack()))
				result, err, outcome = nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: crashed(ctx).Error()}, "panic"
			}
			if call, ok := req.(*mcp.CallToolRequest); ok {
				s.logCall(ctx, call, s.now().Sub(start), outcome)
			}
		}()
		result, err = next(ctx, method, req)
		if called, ok := result.(*mcp.CallToolResult); ok && err == nil {
			switch {
			case called.IsError:
				outcome = "tool_error"
			case called.NeedsInput():
				outcome = "input_required"
			default:
				outcome = "ok"
			}
		}
		return result, err
	}
}

func (s *Server) logCall(ctx context.Context, req *mcp.CallToolRequest, took time.Duration, outcome string) {
	attrs := []slog.Attr{slog.String("tool", s.known(req.Params.Name)), slog.String("took", took.String()), slog.String("outcome", outcome)}
	if caller, ok := accessOf(req); ok {
		attrs = append(attrs, slog.String("subject", string(caller.Subject)),
			slog.String("grant_id", caller.GrantID), slog.String("client_id", caller.ClientID))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "tool called", attrs...)
}

// known keeps names that a client made up out of the log.
func (s *Server) known(tool string) string {
	for _, t := range s.tools {
		if t.definition.Name == tool {
			return tool
		}
	}
	return "unknown"
}
