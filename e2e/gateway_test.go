package e2e

import (
	"net/http"
	"testing"

	"entramcp/e2e/stack"
)

// TestBehindAGatewayThatSharesItsHost: a path in PUBLIC_URL, which the gateway
// strips or keeps.
func TestBehindAGatewayThatSharesItsHost(t *testing.T) {
	for name, strips := range map[string]bool{"strips the path": true, "keeps the path": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stack.Start(t, stack.Options{Path: "/tools", Strips: strips})
			for _, version := range []string{"", "2025-11-25"} {
				c := connectGo(t, s.MCP(), s.Client(), version, dynamic, s.Browser(stack.Alice))
				if got := c.call("greet", nil); got != "Hello, World!" {
					t.Errorf("%q: %s", version, got)
				}
			}
			a := newApp(t, s, stack.Alice).signIn("openid", "offline_access")
			if got := a.renew(); got.Status != http.StatusOK {
				t.Errorf("refresh: %+v", got)
			}
			res, err := http.Get(s.URL + "/account")
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusNotFound {
				t.Errorf("/account on a shared host: %d", res.StatusCode)
			}
		})
	}
}
