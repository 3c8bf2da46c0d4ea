package toolkit

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
)

// Fail is an error that says message, full sentences, to the user and keeps
// cause, which may be nil, for the log.
func Fail(message string, cause error) error { return &failure{message, cause} }

type failure struct {
	message string
	cause   error
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.cause }

// refuse turns a tool's error into its answer. Errors of this server's own
// making show what they have for the user; their causes are logged.
func refuse(ctx context.Context, log *slog.Logger, tool string, req *mcp.CallToolRequest, err error) (*mcp.CallToolResult, any, error) {
	if protocol := new(jsonrpc.Error); errors.As(err, &protocol) {
		return nil, nil, protocol
	}
	var upstream *entra.Failure
	if errors.As(err, &upstream) && upstream.ConsentURL != "" && canOpen(req) && len(req.Params.InputResponses) == 0 {
		return askForConsent(upstream), nil, nil
	}
	text, hidden := explain(err)
	if hidden {
		log.WarnContext(ctx, "tool failed", "tool", tool, "cause", cause(err))
	}
	return nil, nil, errors.New(text)
}

// explain is the part of err that the user may see, and whether there is more.
func explain(err error) (text string, hidden bool) {
	var own *failure
	if errors.As(err, &own) {
		return own.message, own.cause != nil
	}
	var upstream *entra.Failure
	if errors.As(err, &upstream) {
		parts := []string{upstream.Summary, upstream.NextStep}
		if upstream.ConsentURL != "" && !strings.Contains(upstream.NextStep, upstream.ConsentURL) {
			parts = append(parts, upstream.ConsentURL)
		}
		return strings.Join(parts, " "), true
	}
	var protocol *oauth.Error
	if errors.As(err, &protocol) {
		return protocol.Description, true
	}
	return err.Error(), false
}

func cause(err error) error {
	var own *failure
	if errors.As(err, &own) {
		return own.cause
	}
	return err
}
