package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/toolkit"
)

// serveTools is the server with tools of its own, which the shipped binary has
// none of.
func serveTools(t *testing.T, own ...toolkit.Tool) *stack.Local {
	return stack.StartLocal(t, nil, func(d *handler.Dependencies) {
		d.Catalogue = &toolkit.Catalogue{About: toolkit.About{Name: "own"}, Tools: own}
	})
}

func answer42(context.Context, *toolkit.Caller, struct{}) (int, error) { return 42, nil }

// TestAToolCanRequireAnAppRole: Entra's assignment decides, a missing one is
// the tool's error that says who can help, and a new one counts from the next
// renewal on.
func TestAToolCanRequireAnAppRole(t *testing.T) {
	t.Parallel()
	s := serveTools(t, toolkit.Define("audit", "For administrators.", answer42, toolkit.RequireRole("Mcp.Admin")))
	if got := newApp(t, s, stack.Alice).signIn("openid").call("audit"); got.failed || got.structured["result"] != 42.0 {
		t.Errorf("with the role: %+v", got)
	}
	bob := newApp(t, s, stack.Bob).signIn("openid")
	got := bob.call("audit")
	if got.Status != http.StatusOK || !got.failed || !strings.Contains(got.text, "app role Mcp.Admin") || !strings.Contains(got.text, "Users and groups") {
		t.Errorf("without the role: %+v", got)
	}
	if err := s.Tenant.Change(stack.Bob, func(u *tenant.User) { u.Roles = []string{"Mcp.Admin"} }); err != nil {
		t.Fatal(err)
	}
	if answer := bob.renew(); answer.Status != http.StatusOK {
		t.Fatalf("renewal: %+v", answer)
	}
	if got := bob.call("audit"); got.failed {
		t.Errorf("with the role that Entra has given meanwhile: %+v", got)
	}
}

// TestAToolCanRequireAScope: the refusal is HTTP's, with one challenge that
// names all the client needs, and a sign-in for that, whose consent page says
// what the scope allows, opens the tool.
func TestAToolCanRequireAScope(t *testing.T) {
	t.Parallel()
	s := serveTools(t, toolkit.Define("send", "Send mail.", answer42,
		toolkit.RequireScopes("Mail.Send"), toolkit.DescribeScope("Mail.Send", "Send mail in your name")))
	a := newApp(t, s, stack.Alice).signIn("openid")
	got := a.call("send")
	challenges := got.Header.Values("WWW-Authenticate")
	if got.Status != http.StatusForbidden || len(challenges) != 1 || !strings.Contains(challenges[0], `error="insufficient_scope"`) {
		t.Fatalf("without the scope: %+v", got)
	}
	_, rest, _ := strings.Cut(challenges[0], `scope="`)
	wanted, _, _ := strings.Cut(rest, `"`)
	if wanted != "Mail.Send email openid profile" {
		t.Errorf("the challenge asks for %q", wanted)
	}
	if got := a.signIn(strings.Fields(wanted)...).call("send"); got.failed || got.structured["result"] != 42.0 {
		t.Errorf("with the scope: %+v", got)
	}
	if page := a.browser.Seen[0].Body; !strings.Contains(page, "Send mail in your name") {
		t.Errorf("the consent page does not say what the scope allows:\n%s", page)
	}
}
