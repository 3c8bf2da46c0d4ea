package e2e

import (
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/clocktest"
	"entramcp/handler/observe"
	"entramcp/handler/telemetry"
)

// watched is a server whose log and metrics the test reads.
func watched(t *testing.T, env map[string]string) (s *stack.Local, log *stack.Output, tel *telemetry.Telemetry) {
	t.Helper()
	log = &stack.Output{}
	s = stack.StartLocal(t, env, func(d *handler.Dependencies) {
		d.Log = slog.New(slog.NewTextHandler(log, nil))
		var err error
		if tel, err = telemetry.New(telemetry.Options{Getenv: func(string) string { return "" }, ToLog: true, Log: d.Log}); err != nil {
			t.Fatal(err)
		}
		d.Telemetry = tel
	})
	if err := s.Tenant.Reconfigure(stack.ClientID, func(app *tenant.App) { app.AppRoles = append(app.AppRoles, tenant.ManageRole) }); err != nil {
		t.Fatal(err)
	}
	return s, log, tel
}

// logged waits for what goes on in the background to say so.
func logged(t *testing.T, log *stack.Output, line string) {
	t.Helper()
	clocktest.Eventually(t, line, 20*time.Second, func() bool { return strings.Contains(log.String(), line) })
}

// TestWhatWillNotWorkLaterIsSaidBefore: a client secret that ends soon is in the
// log, in the metrics, and on the account page of those who manage; of nobody else.
func TestWhatWillNotWorkLaterIsSaidBefore(t *testing.T) {
	t.Parallel()
	ends := time.Now().AddDate(0, 0, 5).UTC().Format(time.DateOnly)
	s, log, tel := watched(t, map[string]string{"ENTRA_CLIENT_SECRET_EXPIRES": ends})
	logged(t, log, "warning=secret_expires")

	said := "The client secret of the app registration ends on " + ends
	for _, tt := range []struct {
		user, path string
		shown      bool
	}{{stack.Alice, "/account", true}, {stack.Alice, "/account/manage", true}, {stack.Bob, "/account", false}} {
		b := stack.NewBrowser(tt.user)
		if _, err := b.SignInAt(s.URL + "/account"); err != nil {
			t.Fatal(err)
		}
		page, err := b.Open(s.URL + tt.path)
		if err != nil || strings.Contains(page.Body, said) != tt.shown {
			t.Errorf("%s at %s: %v, shown is not %v:\n%s", tt.user, tt.path, err, tt.shown, page.Body)
		}
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "metric=entramcp.warnings value=1") {
		t.Error("the metric does not count it")
	}
}

// TestEachMetricOfTheManualIsMeasured: what docs/operations.md lists comes out of a
// sign-in and two calls, and nothing else does.
func TestEachMetricOfTheManualIsMeasured(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:http|mcp|entramcp)\\.[a-z._]+)` \\|").FindAllStringSubmatch(string(manual), -1) {
		names = append(names, m[1])
	}
	if len(names) < 14 {
		t.Fatalf("the manual lists %v", names)
	}
	c := newCollector(t)
	tel := c.telemetry(t)
	log := &stack.Output{}
	s := stack.StartLocal(t, map[string]string{"SWEEP_INTERVAL": "1s"}, func(d *handler.Dependencies) {
		d.Telemetry = tel
		d.Log = observe.NewLogger(observe.LogOptions{Out: log, Errs: log, Text: true, OnEvent: tel.Event})
	})
	a := newApp(t, s, stack.Bob).signIn("openid", "offline_access")
	a.call("greet")
	a.call("greet")
	logged(t, log, "msg=swept")
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if measured := slices.Sorted(maps.Keys(c.metrics)); !slices.Equal(measured, slices.Sorted(slices.Values(names))) {
		t.Errorf("measured %v\nthe manual has %v", measured, names)
	}
}
