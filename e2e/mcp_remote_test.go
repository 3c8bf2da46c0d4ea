package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"entramcp/e2e/stack"
)

// remoteUser is a person with a client that speaks stdio only, and mcp-remote in
// between.
type remoteUser struct {
	*lines
	opener *opener
	id     int
}

func startMCPRemote(t *testing.T, s *stack.Local) user {
	t.Helper()
	u := &remoteUser{opener: newOpener(t, s)}
	cmd := exec.Command(stack.Node(t), filepath.Join("node_modules", ".bin", "mcp-remote"), s.MCP(), "--allow-http")
	cmd.Env = append(u.opener.env(), "HOME="+t.TempDir(), "MCP_REMOTE_CONFIG_DIR="+t.TempDir())
	u.lines = startLines(t, cmd)
	if _, err := u.request("initialize", map[string]any{
		"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "stdio", "version": "1"},
	}); err != nil {
		t.Fatal(err)
	}
	u.send(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	return u
}

func (u *remoteUser) signedIn() int { return u.opener.count() }

func (u *remoteUser) call(tool string) (string, error) {
	result, err := u.request("tools/call", map[string]any{"name": tool, "arguments": map[string]any{}})
	if err != nil {
		return "", err
	}
	return textOf(u.tb, result), nil
}

func (u *remoteUser) request(method string, params map[string]any) (json.RawMessage, error) {
	u.tb.Helper()
	u.id++
	u.send(map[string]any{"jsonrpc": "2.0", "id": u.id, "method": method, "params": params})
	type answer struct {
		ID     any             `json:"id"`
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	var a answer
	u.await(method, func(line []byte) bool {
		a = answer{}
		return json.Unmarshal(line, &a) == nil && fmt.Sprint(a.ID) == fmt.Sprint(u.id) // otherwise it is a notification
	})
	if a.Error != nil {
		return nil, fmt.Errorf("%s: %d %s", method, a.Error.Code, a.Error.Message)
	}
	return a.Result, nil
}
