package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/fixture"
	"entramcp/e2e/stack"
)

// TestConformsToTheProtocol runs the official suite, with all scenarios that a
// revision requires, against the server as it is wired for deployment. The
// counts are those of this version of the suite: what is skipped is missing
// from them.
func TestConformsToTheProtocol(t *testing.T) {
	for revision, want := range map[string]struct{ scenarios, passed, failed int }{
		// A quick result is JSON: server-sse-multiple-streams then has one check.
		"2026-07-28": {37, 120, 0},
		"2025-11-25": {30, 55, 4},
	} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			s := stack.StartLocal(t, nil, fixture.Into)
			args := []string{"server", "--url", signedIn(t, s) + "/mcp", "--requirements", revision}
			var expected []string
			if list := filepath.Join("fixture", "expected-failures-"+revision+".yaml"); exists(list) {
				args = append(args, "--expected-failures", list)
				expected = listed(t, list, "server")
			}
			out, err := conformance(t, io.Discard, args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			required := listed(t, filepath.Join("node_modules", "@modelcontextprotocol", "conformance", "requirements", revision+".yaml"), "server")
			got := want
			got.scenarios, got.passed, got.failed = len(required), 0, 0
			for _, scenario := range unscored[revision] {
				if passed, failed := counts(out, scenario); passed == 0 || failed > 0 {
					t.Errorf("%s, which is not scored: %d passed, %d failed", scenario, passed, failed)
				}
			}
			for _, scenario := range required {
				passed, failed := counts(out, scenario)
				if (passed == 0 || failed > 0) && !slices.Contains(expected, scenario) {
					t.Errorf("%s: %d passed, %d failed", scenario, passed, failed)
				}
				got.passed, got.failed = got.passed+passed, got.failed+failed
			}
			if got != want {
				t.Errorf("got %+v, want %+v in:\n%s", got, want, out)
			}
		})
	}
}

// unscored are scenarios that pass though the revision does not require them.
// The others of that kind are about tasks, skills and sessions, which this
// server does not have.
var unscored = map[string][]string{
	"2026-07-28": {"json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"},
	"2025-11-25": {"json-schema-2020-12"},
}

// TestAuthorizationServerConforms has the suite act as a client that was
// registered before, with a person who approves and signs in.
func TestAuthorizationServerConforms(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	port := stack.FreePort(t)
	client := s.Register(t, "http://127.0.0.1:"+port+"/callback")
	person := &approver{browser: s.Browser(stack.Alice), done: make(chan error, 1)}
	out, err := conformance(t, person, "authorization", "--url", s.URL, "--client-id", client, "--resource", s.MCP(), "-p", port)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := <-person.done; err != nil {
		t.Error(err)
	}
	for scenario, want := range map[string]int{"authorization-server-metadata-endpoint": 2, "authorization-code-grant": 1} {
		if passed, failed := counts(out, scenario); passed != want || failed != 0 {
			t.Errorf("%s: %d passed, %d failed, want %d passed", scenario, passed, failed, want)
		}
	}
}

// approver waits for an authorization URL in what the suite prints, and does
// what the person does who opens it.
type approver struct {
	browser *stack.Browser
	printed bytes.Buffer
	opened  bool
	done    chan error
}

var authorizationURL = regexp.MustCompile(`(?m)^\s*(https?://\S*[?&]response_type=code\S*)\s`)

func (a *approver) Write(p []byte) (int, error) {
	a.printed.Write(p)
	if found := authorizationURL.FindSubmatch(a.printed.Bytes()); found != nil && !a.opened {
		a.opened = true
		go func() {
			callback, err := a.browser.Approve(string(found[1]))
			if err == nil {
				_, err = a.browser.Open(callback.String())
			}
			a.done <- err
		}()
	}
	return len(p), nil
}

// signedIn is the URL of a proxy that adds an access token to every request,
// which the suite cannot do. It keeps Host and Origin, which the suite forges.
func signedIn(t *testing.T, s *stack.Local) string {
	t.Helper()
	token := s.SignIn(t, stack.Alice)
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Host = p.In.Host
			p.Out.Header.Set("Authorization", "Bearer "+token)
		},
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Or the answer's first byte may end the request: see stack.
		_ = http.NewResponseController(w).EnableFullDuplex()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
	})
	return proxy.URL
}

// conformance runs the suite and returns what it prints, which also goes to
// watch while it runs.
func conformance(t *testing.T, watch io.Writer, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, stack.Node(t), append([]string{filepath.Join("node_modules", ".bin", "conformance")}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, watch)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	return out.String(), err
}

// counts are the checks of a scenario in the suite's summary, none if it is not
// there.
func counts(out, scenario string) (passed, failed int) {
	line := regexp.MustCompile(`(?m)^\s*[✓✗] ` + regexp.QuoteMeta(scenario) + `: (\d+) passed, (\d+) failed`).FindStringSubmatch(out)
	if line == nil {
		return 0, 0
	}
	passed, _ = strconv.Atoi(line[1])
	failed, _ = strconv.Atoi(line[2])
	return passed, failed
}

// listed are the scenarios below key in one of the suite's YAML files, which
// are lists of words.
func listed(t *testing.T, path, key string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut("\n"+string(text), "\n"+key+":\n")
	var scenarios []string
	for line := range strings.Lines(after) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "  - "); ok {
			scenarios = append(scenarios, name)
		} else if line != "" && line[0] != ' ' && line[0] != '#' {
			break
		}
	}
	return scenarios
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
