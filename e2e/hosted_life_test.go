//go:build unix

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// TestHostedNothingEndsTheServerForGood: the host starts the handler again
// whatever signal ended it, and requests that come meanwhile wait for it.
func TestHostedNothingEndsTheServerForGood(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 1, Azure: &stack.Azure{}})
	host := s.Hosts[0]
	a := newApp(t, s, stack.Alice).signIn("openid", "offline_access")
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		before := host.Handler()
		if err := syscall.Kill(before, signal); err != nil {
			t.Fatal(err)
		}
		clocktest.Eventually(t, "started again after "+signal.String(), 20*time.Second, func() bool { return host.Handler() != before && host.Handler() != 0 })
		if got := a.call("greet"); got.failed || !strings.HasPrefix(got.text, "Hello, World!") {
			t.Errorf("after %v: %+v", signal, got)
		}
	}
	if got := a.renew(); got.Status != 200 {
		t.Errorf("refresh: %+v", got)
	}
}

// TestHostedMistakesInTheSettingsAreErrorsInTheLog: the handler ends, never
// with 0, and what is wrong stands in the log of the app.
func TestHostedMistakesInTheSettingsAreErrorsInTheLog(t *testing.T) {
	t.Parallel()
	path, err := stack.Package()
	if err != nil {
		t.Fatal(err)
	}
	host, err := funchost.Start(funchost.Options{Package: path, Hostname: stack.SiteHost, Settings: map[string]string{"ENTRA_CLIENT_ID": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	select {
	case <-host.Stopped():
	case <-time.After(30 * time.Second):
		t.Fatal("the host goes on")
	}
	for _, name := range []string{"ENTRA_CLIENT_ID", "ENTRA_TENANT_ID", "TABLES_URL", "KEY_VAULT_KEY_URL"} {
		found := false
		for _, l := range host.Lines() {
			found = found || l.Severity == funchost.Error && strings.HasPrefix(l.Text, name+" ")
		}
		if !found {
			t.Errorf("no error about %s in:\n%s", name, host.Log())
		}
	}
	if strings.Contains(host.Log(), "exit status 0") || strings.Count(host.Log(), "exit status 78") != 3 {
		t.Errorf("log:\n%s", host.Log())
	}
}
