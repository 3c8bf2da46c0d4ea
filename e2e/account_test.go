package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// TestDisconnectingAnAppEndsItOnEveryInstance: on the page of one instance, for
// tokens that are shown to another.
func TestDisconnectingAnAppEndsItOnEveryInstance(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 2})
	a := newApp(t, s, stack.Alice).signIn("openid", "offline_access")
	on := func(i *stack.Instance) int {
		one := *a
		one.Issuer = i.URL
		return one.call("greet").Status
	}
	for _, i := range s.Instances {
		if status := on(i); status != http.StatusOK {
			t.Fatalf("before: %d", status)
		}
	}
	browser := s.Browser(stack.Alice)
	page, err := browser.SignInAt(s.URL + "/account")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.Body, "wire") || strings.Contains(page.Body, a.access) || !strings.HasSuffix(page.Forms[0].Action, "/disconnect") {
		t.Fatalf("the page of connected apps:\n%s", page.Body)
	}
	begin := time.Now()
	done, err := browser.Press(page, page.Forms[0].Buttons[0])
	if err != nil || !strings.Contains(done.Body, "Disconnected.") {
		t.Fatalf("%v\n%s", err, done.Body)
	}
	for _, i := range s.Instances {
		clocktest.Eventually(t, "the token is refused at "+i.URL, 15*time.Second-time.Since(begin), func() bool { return on(i) == http.StatusUnauthorized })
	}
	t.Logf("refused on every instance after %s", time.Since(begin).Round(time.Millisecond))
	if answer := a.renew(); answer.Status != http.StatusBadRequest || answer.Member("error") != "invalid_grant" {
		t.Errorf("the refresh token: %+v", answer)
	}
}
