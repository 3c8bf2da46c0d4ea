package toolkit

import (
	"bytes"
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// noArguments takes null for no arguments. The Go SDK's client sends it for a
// call without any; its server then panics where it would fill in defaults.
func noArguments(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if call, ok := req.(*mcp.CallToolRequest); ok && string(bytes.TrimSpace(call.Params.Arguments)) == "null" {
			call.Params.Arguments = nil
		}
		return next(ctx, method, req)
	}
}
