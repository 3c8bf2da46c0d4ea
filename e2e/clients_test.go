package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

const greeting = "Hello, Ada!"

// caller is a connected client.
type caller interface {
	call(tool string, arguments map[string]any) string
}

// TestRealClientsSignInCallAndRefresh: each client discovers the server,
// registers, signs its user in, calls a tool, and goes on when its access token
// has expired, without asking the person again. Each request reaches the other
// one of two instances.
func TestRealClientsSignInCallAndRefresh(t *testing.T) {
	for name, azure := range map[string]*stack.Azure{"bare": nil, "functions-host": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"ACCESS_TOKEN_LIFETIME": shortLife.String()}
			signInCallAndRefresh(t, stack.Start(t, stack.Options{Instances: 2, Azure: azure, Env: env}))
		})
	}
}

// shortLife is that of the access tokens, long enough to connect with one.
const shortLife = 4 * time.Second

func signInCallAndRefresh(t *testing.T, s *stack.Stack) {
	clients := map[string]func(*testing.T, *stack.Browser) caller{
		"go-sdk/newest": func(t *testing.T, b *stack.Browser) caller { return connectGo(t, s.MCP(), s.Client(), "", dynamic, b) },
		"go-sdk/2025-11-25": func(t *testing.T, b *stack.Browser) caller {
			return connectGo(t, s.MCP(), s.Client(), "2025-11-25", dynamic, b)
		},
		"typescript-1":        node(s, "sdk-v1", clientSettings{}),
		"typescript-1/post":   node(s, "sdk-v1", clientSettings{AuthMethod: "client_secret_post"}),
		"typescript-1/basic":  node(s, "sdk-v1", clientSettings{AuthMethod: "client_secret_basic"}),
		"typescript-2/legacy": node(s, "sdk-v2", clientSettings{Era: "legacy"}),
		"typescript-2/auto":   node(s, "sdk-v2", clientSettings{Era: "auto"}),
		"typescript-2/2026":   node(s, "sdk-v2", clientSettings{Era: map[string]string{"pin": "2026-07-28"}}),
		"python-1":            python(s, 1, clientSettings{}),
		"python-1/basic":      python(s, 1, clientSettings{AuthMethod: "client_secret_basic"}),
		"python-2/legacy":     python(s, 2, clientSettings{Era: "legacy", AuthMethod: "client_secret_post"}),
		"python-2/auto":       python(s, 2, clientSettings{Era: "auto"}),
	}
	connected := map[string]caller{}
	refreshTokens := map[string]string{}
	for name, connect := range clients {
		c := connect(t, s.Browser(stack.Alice))
		if got := c.call("greet", map[string]any{"name": "Ada"}); got != greeting {
			t.Errorf("%s: greet: %q", name, got)
		}
		connected[name], refreshTokens[name] = c, refreshTokenOf(t, c)
	}
	time.Sleep(shortLife + time.Second) // by the clocks of the clients, which nobody can set
	for name, c := range connected {
		if got := c.call("greet", map[string]any{"name": "Ada"}); got != greeting {
			t.Errorf("%s: greet after expiry: %q", name, got)
		}
		if before := refreshTokens[name]; before != "" && refreshTokenOf(t, c) == before {
			t.Errorf("%s: the refresh token was not rotated", name)
		}
		if g, ok := c.(*goClient); ok && g.signIns != 1 {
			t.Errorf("%s: the person had to sign in %d times", name, g.signIns)
		}
	}
}

func node(s *stack.Stack, script string, settings clientSettings) func(*testing.T, *stack.Browser) caller {
	return func(t *testing.T, b *stack.Browser) caller {
		settings.URL, settings.Certificate = s.MCP(), s.Certificate
		n := startNode(t, script, settings)
		n.connect(b)
		return n
	}
}

func python(s *stack.Stack, version int, settings clientSettings) func(*testing.T, *stack.Browser) caller {
	return func(t *testing.T, b *stack.Browser) caller {
		settings.URL, settings.Certificate = s.MCP(), s.Certificate
		c := startPython(t, version, settings)
		c.connect(b)
		return c
	}
}

// refreshTokenOf is the refresh token that a scripted client holds; the Go
// SDK does not show its own.
func refreshTokenOf(t *testing.T, c caller) string {
	t.Helper()
	n, ok := c.(*scriptedClient)
	if !ok {
		return ""
	}
	var state struct {
		Tokens struct {
			RefreshToken string `json:"refresh_token"`
		} `json:"tokens"`
	}
	if err := json.Unmarshal(n.must(map[string]any{"do": "state"}), &state); err != nil {
		t.Fatal(err)
	}
	if state.Tokens.RefreshToken == "" {
		t.Fatal("the client holds no refresh token")
	}
	return state.Tokens.RefreshToken
}
