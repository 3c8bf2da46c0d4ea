package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// inspectorUser is a person with the MCP Inspector's command line, which is a
// new process for each call and keeps what it knows in its home directory. It
// listens for the redirect at a port of its own: one of them signs in at a time.
type inspectorUser struct {
	t        *testing.T
	endpoint string
	era      string
	how      registration
	home     string
	opener   *opener
}

func inspectorUserOf(era string, how registration) func(*testing.T, *stack.Local) user {
	return func(t *testing.T, s *stack.Local) user {
		return &inspectorUser{t: t, endpoint: s.MCP(), era: era, how: how, home: t.TempDir(), opener: newOpener(t, s)}
	}
}

func (u *inspectorUser) signedIn() int { return u.opener.count() }

func (u *inspectorUser) call(tool string) (string, error) {
	ctx, cancel := context.WithTimeout(u.t.Context(), 40*time.Second)
	defer cancel()
	args := []string{filepath.Join("node_modules", ".bin", "mcp-inspector"), "--cli", u.endpoint,
		"--transport", "http", "--protocol-era", u.era, "--method", "tools/call", "--tool-name", tool}
	if u.how == document {
		args = append(args, "--client-metadata-url", documentURL)
	}
	cmd := exec.CommandContext(ctx, stack.Node(u.t), args...)
	cmd.Env = append(u.opener.env(), "HOME="+u.home, "MCP_AUTO_OPEN_ENABLED=true", "MCP_INSPECTOR_SECRET_STORE=file")
	cmd.Stdin = strings.NewReader("y\n") // to the question whether to ask for more scopes
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, stdout.String(), stderr.String())
	}
	var result json.RawMessage
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return "", fmt.Errorf("%w: %s", err, stdout.String())
	}
	return textOf(u.t, result), nil
}

// opener stands in for the program that opens the browser: it notes the address,
// and a person approves there and is sent back to the client's own port.
type opener struct {
	t       *testing.T
	script  string
	notes   string
	browser *stack.Browser
	mu      sync.Mutex
	opened  int
}

func newOpener(t *testing.T, s *stack.Local) *opener {
	t.Helper()
	dir := t.TempDir()
	o := &opener{t: t, script: filepath.Join(dir, "open"), notes: filepath.Join(dir, "addresses"), browser: s.Browser(stack.Alice)}
	text := "#!/bin/sh\nprintf '%s\\n' \"$1\" >> '" + o.notes + "'\n"
	if err := os.WriteFile(o.script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return o
}

func (o *opener) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "BROWSER=" + o.script}
}

func (o *opener) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opened
}

func (o *opener) watch(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
		text, _ := os.ReadFile(o.notes) // not there until the first is opened
		addresses := strings.Fields(string(text))
		for o.count() < len(addresses) {
			address := addresses[o.count()]
			o.mu.Lock()
			o.opened++
			o.mu.Unlock()
			if err := o.visit(ctx, address); err != nil && ctx.Err() == nil {
				o.t.Errorf("sign in at %s: %v", address, err)
			}
		}
	}
}

func (o *opener) visit(ctx context.Context, address string) error {
	callback, err := o.browser.Approve(address)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, callback.String(), nil)
	if err != nil {
		return err
	}
	// Some clients listen only after they have opened the browser, which is
	// soon enough for people.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			return res.Body.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return err
		}
	}
}
