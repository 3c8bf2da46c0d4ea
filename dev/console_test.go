package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/logtest"
)

func TestTheConsoleShowsWhatAPersonWants(t *testing.T) {
	const at = `"time":"2026-11-26T12:00:00Z",`
	var out strings.Builder
	c := newConsole(&out)
	write := func(lines ...string) {
		for _, line := range lines {
			for _, part := range []string{line[:len(line)/2], line[len(line)/2:] + "\n"} { // as pipes cut
				if _, err := c.Write([]byte(part)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write(`{`+at+`"level":"INFO","msg":"started","config":{}}`, `{`+at+`"level":"WARN","msg":"not ready","check":"keys"}`)
	if text := out.String(); strings.Contains(text, "started") || !strings.Contains(text, `warning   not ready check="keys"`) {
		t.Errorf("while it starts:\n%s", text)
	}
	c.open("the banner\n")
	out.Reset()
	write(
		`{`+at+`"level":"INFO","msg":"audit","category":"audit","event":"signed_in","client_name":"Claude","scopes":["email","openid"],"subject":"abc"}`,
		`{`+at+`"level":"INFO","msg":"audit","category":"audit","event":"tool_called","tool":"greet","client_name":"Claude","took_ms":3}`,
		`{`+at+`"level":"INFO","msg":"audit","category":"audit","event":"caller_refused","client_id":"0b07","reason":"role is missing"}`,
		`{`+at+`"level":"INFO","msg":"audit","category":"audit","event":"consent_shown","client_name":"Claude"}`,
		`{`+at+`"level":"INFO","msg":"request"}`,
		`panic: a crash`,
	)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], "sign-in   by Claude  for email openid") || !strings.HasSuffix(lines[1], "call      greet  by Claude  in 3 ms") || !strings.HasSuffix(lines[2], "refused   by 0b07  role is missing") || lines[3] != "panic: a crash" {
		t.Errorf("it shows:\n%s", out.String())
	}
}

// TestWarningsAreReadableToo: the handler writes them to its standard error.
func TestWarningsAreReadableToo(t *testing.T) {
	var out, errs strings.Builder
	w := newConsole(&out).errors(&errs)
	for _, part := range []string{`{"time":"2026-11-26T12:00:00Z","level":"WARN","msg":"a document cannot`, ` be fetched","url":"https://claude.ai/x"}` + "\nport 7071 is in use\n"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := errs.String(); !strings.HasSuffix(got, "  warning   a document cannot be fetched url=\"https://claude.ai/x\"\nport 7071 is in use\n") || strings.Contains(got, "{") || out.Len() > 0 {
		t.Errorf("%q %q", got, out.String())
	}
}

func TestTheWatcherBuildsWhatChanged(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, ago time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Now().Add(-ago), time.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	file("go.mod", "module watched\n", time.Hour)
	file("main.go", "package main\n\nfunc main() {}\n", time.Hour)
	binary := filepath.Join(dir, ".bin", "app")
	file(".bin/app", "the one before", time.Hour)
	w := newWatcher(dir, binary)
	file("main_test.go", "package main\n", 0)
	file("docs/page.html", "x", 0)
	file("node_modules/x/x.go", "package x\n", 0)
	if w.newest().After(w.seen) {
		t.Error("what is not compiled counts as a change")
	}
	var out strings.Builder
	var stderr logtest.Log
	changed := make(chan bool)
	next := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		changed <- w.next(ctx, newConsole(&out), &stderr)
	}
	go next()
	file("broken.go", "package main\n\nfunc main() {}\n", 0) // a second main
	clocktest.Eventually(t, "the compiler's error is shown", 30*time.Second, func() bool { return strings.Contains(stderr.String(), "previous handler") })
	if text, _ := os.ReadFile(binary); string(text) != "the one before" {
		t.Error("what does not compile replaced the handler")
	}
	if err := os.Remove(filepath.Join(dir, "broken.go")); err != nil {
		t.Fatal(err)
	}
	file("main.go", "package main\n\nfunc main() { println() }\n", -time.Second)
	if !<-changed {
		t.Fatal("the change was not seen")
	}
	if text, err := os.ReadFile(binary); err != nil || string(text) == "the one before" {
		t.Errorf("the handler was not built: %v", err)
	}
}
