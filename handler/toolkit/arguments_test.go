package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// TestGoClientsCallWithoutArguments: the Go SDK's client sends null for an empty
// map, and its server cannot fill defaults into that.
func TestGoClientsCallWithoutArguments(t *testing.T) {
	url := serve(t, New(Options{Catalogue: offer()}), access())
	for _, revision := range revisions {
		session := connect(t, url, revision, nil)
		for name, arguments := range map[string]any{
			"left out": nil, "an empty map": map[string]any(nil), "null": json.RawMessage(" null "), "none": map[string]any{},
		} {
			if got := text(t, call(t, session, "greet", arguments)); !strings.HasPrefix(got, "Hello, World!") {
				t.Errorf("%s: %s: %s", revision, name, got)
			}
		}
	}
}

// TestToolsCanSpeakTheProtocol: a tool can refuse a call with a code of its own.
func TestToolsCanSpeakTheProtocol(t *testing.T) {
	s := New(Options{Catalogue: offer(
		Define("refuse", "Refuse.", func(context.Context, *Caller, struct{}) (string, error) {
			return "", &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling"}
		}),
	)})
	_, err := connect(t, serve(t, s, access()), "2026-07-28", nil).CallTool(t.Context(), &mcp.CallToolParams{Name: "refuse"})
	if refused := new(jsonrpc.Error); !errors.As(err, &refused) || refused.Code != mcp.CodeMissingRequiredClientCapabilities {
		t.Errorf("got %v", err)
	}
}
