package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// TestRealClientsForMonths takes real clients, in each protocol era that they
// speak and with each way to register that they have, through expiry, a scope
// challenge, revocation and the loss of their registration.
func TestRealClientsForMonths(t *testing.T) {
	t.Run("inspector", func(t *testing.T) {
		t.Parallel()
		// Without any OAuth option on its command line, the Inspector answers
		// a scope challenge by refreshing too. With one it asks its user.
		stepUp := faults{stepUp: "without authorization code"}
		for _, era := range []string{"modern", "legacy"} {
			t.Run(era+"/DCR", func(t *testing.T) { live(t, dynamic, stepUp, 0, inspectorUserOf(era, dynamic)) })
			t.Run(era+"/CIMD", func(t *testing.T) { live(t, document, faults{}, 0, inspectorUserOf(era, document)) })
		}
	})
	t.Run("mcp-remote/DCR", func(t *testing.T) {
		t.Parallel()
		live(t, dynamic, faults{}, 0, startMCPRemote)
	})
	for _, c := range []struct {
		name  string
		known faults
		early time.Duration
		start func(registration) func(*testing.T, *stack.Local) user
	}{
		// The Go SDK refreshes by golang.org/x/oauth2, and when that is refused
		// gives the call up instead of authorizing again.
		{name: "go-sdk/newest", known: faults{register: "invalid_client"}, early: 10 * time.Second, start: goUserOf("")},
		{name: "go-sdk/2025-11-25", known: faults{register: "invalid_client"}, early: 10 * time.Second, start: goUserOf("2025-11-25")},
		// With a refresh token in hand, version 1 answers a scope challenge by
		// refreshing, which cannot widen a grant (RFC 6749 §6), and gives up.
		{name: "typescript-1", known: faults{stepUp: "403"}, start: nodeUserOf("sdk-v1", nil)},
		{name: "typescript-2/legacy", start: nodeUserOf("sdk-v2", "legacy")},
		{name: "typescript-2/auto", start: nodeUserOf("sdk-v2", "auto")},
		{name: "typescript-2/2026-07-28", start: nodeUserOf("sdk-v2", map[string]string{"pin": "2026-07-28"})},
	} {
		for _, how := range []registration{dynamic, document} {
			t.Run(fmt.Sprintf("%s/%s", c.name, how), func(t *testing.T) {
				t.Parallel()
				live(t, how, c.known, c.early, c.start(how))
			})
		}
	}
}

func goUserOf(version string) func(registration) func(*testing.T, *stack.Local) user {
	return func(how registration) func(*testing.T, *stack.Local) user {
		return func(t *testing.T, s *stack.Local) user {
			return &goUser{connectGo(t, s.MCP(), http.DefaultClient, version, how, s.Browser(stack.Alice))}
		}
	}
}

// goUser is a person with a client of the Go SDK.
type goUser struct{ client *goClient }

func (u *goUser) call(tool string) (string, error) { return u.client.try(tool, nil) }
func (u *goUser) signedIn() int                    { return u.client.signIns }

func nodeUserOf(script string, era any) func(registration) func(*testing.T, *stack.Local) user {
	return func(how registration) func(*testing.T, *stack.Local) user {
		return func(t *testing.T, s *stack.Local) user {
			settings := clientSettings{URL: s.MCP(), Era: era}
			if how == document {
				settings.ClientMetadataURL = documentURL
			}
			return &nodeUser{scriptedClient: startNode(t, script, settings), browser: s.Browser(stack.Alice)}
		}
	}
}

// nodeUser is a person with a client of a TypeScript SDK.
type nodeUser struct {
	*scriptedClient
	browser   *stack.Browser
	connected bool
	signIns   int
}

func (u *nodeUser) signedIn() int { return u.signIns }

func (u *nodeUser) call(tool string) (string, error) {
	u.tb.Helper()
	if !u.connected {
		if _, err := u.persist(map[string]any{"do": "connect"}); err != nil {
			return "", err
		}
		u.connected = true
	}
	result, err := u.persist(map[string]any{"do": "call", "tool": tool})
	if err != nil {
		return "", err
	}
	return textOf(u.tb, result.OK), nil
}

// persist gives a command again after each sign-in that the client asks for.
func (u *nodeUser) persist(command map[string]any) (scriptedAnswer, error) {
	u.tb.Helper()
	for range 3 {
		a := u.do(command)
		switch {
		case a.Error != nil:
			return a, fmt.Errorf("%s: %s", a.Error.Name, a.Error.Message)
		case a.SignIn == "":
			return a, nil
		}
		u.signIns++
		u.scriptedClient.signIn(u.browser, a.SignIn)
	}
	return scriptedAnswer{}, fmt.Errorf("%v: the client asks to sign in again and again", command)
}
