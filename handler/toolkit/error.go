package toolkit

import (
	"context"
	"errors"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// Fail is an error with a message for the user, in full sentences, and a cause for
// the log, which may be nil.
func Fail(message string, cause error) error { return &userError{message, cause} }

// userError is an error whose message is for the user.
type userError struct {
	message string
	cause   error
}

func (e *userError) Error() string { return e.message }
func (e *userError) Unwrap() error { return e.cause }

// unexpected is an error that is the server's fault.
func unexpected(ctx context.Context, cause error) error {
	return Fail("This failed unexpectedly."+reference(ctx), cause)
}

// reference lets an operator find the call in the log.
func reference(ctx context.Context) string {
	if id := observe.CorrelationID(ctx); id != "" {
		return " Reference: " + id
	}
	return ""
}

// Explain is the part of err that a user may see: the message of Fail, of Entra's
// errors or of this server's own. Other errors are shown as they are.
func Explain(err error) string {
	text, _ := explain(err)
	return text
}

// explain is the part of err that the user may see, and whether there is more.
func explain(err error) (text string, hidden bool) {
	if own, ok := errors.AsType[*userError](err); ok {
		return own.message, own.cause != nil
	}
	if upstream, ok := errors.AsType[*entra.Error](err); ok {
		parts := []string{upstream.Summary, upstream.NextStep}
		if !strings.Contains(upstream.NextStep, upstream.ConsentURL) { // an empty one is in every text
			parts = append(parts, upstream.ConsentURL)
		}
		return strings.Join(parts, " "), true
	}
	if protocol, ok := errors.AsType[*oauth.Error](err); ok {
		return protocol.Description, true
	}
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.Error(), true
	}
	return err.Error(), false
}

func cause(err error) error {
	if own, ok := errors.AsType[*userError](err); ok {
		return own.cause
	}
	return err
}

// answerTo is the answer to the client for err: for a tool a result, which models
// read, and otherwise a JSON-RPC error.
func (s *Server) answerTo(ctx context.Context, d *definition, err error) (mcp.Result, error) {
	if protocol := new(jsonrpc.Error); errors.As(err, &protocol) {
		return nil, protocol
	}
	text, hidden := explain(err)
	if hidden {
		s.log.WarnContext(ctx, string(d.kind)+" failed", "name", d.name, "cause", cause(err))
	}
	if d.kind == tool {
		return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: text}
}
