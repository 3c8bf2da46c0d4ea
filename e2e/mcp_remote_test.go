package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// remoteUser is a person with a client that speaks stdio only, and mcp-remote in
// between.
type remoteUser struct {
	t       *testing.T
	opener  *opener
	stdin   io.Writer
	answers chan json.RawMessage
	id      int
}

func startMCPRemote(t *testing.T, s *stack.Local) user {
	t.Helper()
	u := &remoteUser{t: t, opener: newOpener(t, s), answers: make(chan json.RawMessage, 16)}
	cmd := exec.Command(stack.Node(t), filepath.Join("node_modules", ".bin", "mcp-remote"), s.MCP(), "--allow-http")
	cmd.Env = append(u.opener.env(), "HOME="+t.TempDir(), "MCP_REMOTE_CONFIG_DIR="+t.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	u.stdin = stdin
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(u.answers)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			u.answers <- json.RawMessage(strings.Clone(lines.Text()))
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stderr of mcp-remote:\n%s", stderr.String())
		}
	})
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
	return textOf(u.t, result), nil
}

func (u *remoteUser) send(message map[string]any) {
	u.t.Helper()
	line, err := json.Marshal(message)
	if err != nil {
		u.t.Fatal(err)
	}
	if _, err := u.stdin.Write(append(line, '\n')); err != nil {
		u.t.Fatal(err)
	}
}

func (u *remoteUser) request(method string, params map[string]any) (json.RawMessage, error) {
	u.t.Helper()
	u.id++
	u.send(map[string]any{"jsonrpc": "2.0", "id": u.id, "method": method, "params": params})
	deadline := time.After(40 * time.Second)
	for {
		select {
		case line, ok := <-u.answers:
			if !ok {
				return nil, fmt.Errorf("%s: mcp-remote has ended", method)
			}
			var a struct {
				ID     any             `json:"id"`
				Result json.RawMessage `json:"result"`
				Error  *struct {
					Code    int    `json:"code"`
					Message string `json:"message"`
				} `json:"error"`
			}
			if err := json.Unmarshal(line, &a); err != nil || fmt.Sprint(a.ID) != fmt.Sprint(u.id) {
				continue // a notification
			}
			if a.Error != nil {
				return nil, fmt.Errorf("%s: %d %s", method, a.Error.Code, a.Error.Message)
			}
			return a.Result, nil
		case <-deadline:
			return nil, fmt.Errorf("%s: no answer from mcp-remote", method)
		}
	}
}
