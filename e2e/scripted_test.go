package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

// scriptedClient is a real client in a process of its own, driven line by line;
// clients/driver.mjs says how.
type scriptedClient struct{ *lines }

type scriptedAnswer struct {
	OK     json.RawMessage `json:"ok"`
	SignIn string          `json:"signIn"`
	Error  *struct {
		Name    string `json:"name"`
		Code    any    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

type clientSettings struct {
	URL               string `json:"url"`
	RedirectURL       string `json:"redirectUrl"`
	ClientName        string `json:"clientName"`
	ClientMetadataURL string `json:"clientMetadataUrl,omitempty"`
	AuthMethod        string `json:"authMethod,omitempty"`
	Era               any    `json:"era,omitempty"`
	Scope             string `json:"scope,omitempty"`
	// Certificate is a PEM file that the client trusts, beside the usual ones.
	Certificate string `json:"-"`
}

// startNode starts a client of the TypeScript SDK.
func startNode(tb testing.TB, script string, settings clientSettings) *scriptedClient {
	tb.Helper()
	cmd := exec.Command(stack.Node(tb), filepath.Join("clients", script+".mjs"))
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+settings.Certificate)
	return startScripted(tb, cmd, script, settings)
}

// startPython starts a client of one version of the Python SDK.
func startPython(tb testing.TB, version int, settings clientSettings) *scriptedClient {
	tb.Helper()
	python := fmt.Sprintf("../.bin/python-%d/bin/python", version)
	if _, err := os.Stat(python); err != nil {
		tb.Fatalf("the Python SDK is missing: run make deps: %v", err)
	}
	script := fmt.Sprintf("sdk_v%d", version)
	// -B: nothing is written beside the scripts. Unlike Go and Node, Python
	// takes localhost through a proxy.
	cmd := exec.Command(python, "-B", filepath.Join("clients", "python", script+".py"))
	cmd.Env = append(os.Environ(), "NO_PROXY=localhost")
	if settings.Certificate != "" {
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+settings.Certificate)
	}
	return startScripted(tb, cmd, script, settings)
}

// startScripted starts a client whose settings are its last argument.
func startScripted(tb testing.TB, cmd *exec.Cmd, script string, settings clientSettings) *scriptedClient {
	tb.Helper()
	settings.RedirectURL = cmp.Or(settings.RedirectURL, "http://localhost:8976/callback")
	settings.ClientName = cmp.Or(settings.ClientName, script)
	argument, err := json.Marshal(settings)
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Args = append(cmd.Args, string(argument))
	return &scriptedClient{startLines(tb, cmd)}
}

// lines is a process that reads messages as lines of JSON, and writes its own as such.
type lines struct {
	tb    testing.TB
	stdin io.Writer
	// said are the lines of its standard output; it is closed at the end.
	said chan []byte
}

// startLines starts cmd and ends it with the test.
func startLines(tb testing.TB, cmd *exec.Cmd) *lines {
	tb.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	l := &lines{tb: tb, stdin: stdin, said: make(chan []byte, 16)}
	go func() {
		defer close(l.said)
		each := bufio.NewScanner(stdout)
		each.Buffer(nil, 1<<20)
		for each.Scan() {
			l.said <- bytes.Clone(each.Bytes())
		}
	}()
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("stderr of %s:\n%s", cmd.Path, stderr.String())
		}
	})
	return l
}

func (l *lines) send(message map[string]any) {
	l.tb.Helper()
	line, err := json.Marshal(message)
	if err != nil {
		l.tb.Fatal(err)
	}
	if _, err := l.stdin.Write(append(line, '\n')); err != nil {
		l.tb.Fatal(err)
	}
}

// await reads lines until is returns true for one, 40 seconds at most.
func (l *lines) await(what any, is func(line []byte) bool) {
	l.tb.Helper()
	for end := time.After(40 * time.Second); ; {
		select {
		case line, ok := <-l.said:
			if !ok {
				l.tb.Fatalf("%v: the process ended", what)
			}
			if is(line) {
				return
			}
		case <-end:
			l.tb.Fatalf("%v: no answer", what)
		}
	}
}

// do sends one command and waits for its answer.
func (n *scriptedClient) do(command map[string]any) (a scriptedAnswer) {
	n.tb.Helper()
	n.send(command)
	n.await(command, func(line []byte) bool {
		a = scriptedAnswer{}
		return json.Unmarshal(line, &a) == nil
	})
	return a
}

// must is do for commands that have to succeed without a sign-in.
func (n *scriptedClient) must(command map[string]any) json.RawMessage {
	n.tb.Helper()
	a := n.do(command)
	if a.Error != nil {
		n.tb.Fatalf("%v: %s: %s", command, a.Error.Name, a.Error.Message)
	}
	if a.SignIn != "" {
		n.tb.Fatalf("%v: the client asks to sign in at %s", command, a.SignIn)
	}
	return a.OK
}

// signIn does what the person does when the client opens the browser.
func (n *scriptedClient) signIn(b *stack.Browser, authorizationURL string) {
	n.tb.Helper()
	callback, err := b.Approve(authorizationURL)
	if err != nil {
		n.tb.Fatal(err)
	}
	n.must(map[string]any{"do": "finish", "callback": callback.String()})
}

// connect connects, signing in if the client wants to.
func (n *scriptedClient) connect(b *stack.Browser) {
	n.tb.Helper()
	a := n.do(map[string]any{"do": "connect"})
	if a.Error != nil {
		n.tb.Fatalf("connect: %s: %s", a.Error.Name, a.Error.Message)
	}
	if a.SignIn == "" {
		return
	}
	if u, err := url.Parse(a.SignIn); err != nil || u.Query().Get("code_challenge") == "" {
		n.tb.Fatalf("the client would open %q: %v", a.SignIn, err)
	}
	n.signIn(b, a.SignIn)
	n.must(map[string]any{"do": "connect"})
}

// call calls a tool and returns the text of its result.
func (n *scriptedClient) call(tool string, arguments map[string]any) string {
	n.tb.Helper()
	return textOf(n.tb, n.must(map[string]any{"do": "call", "tool": tool, "arguments": arguments}))
}

func textOf(tb testing.TB, result json.RawMessage) string {
	tb.Helper()
	var r struct {
		IsError bool
		Content []struct{ Text string }
	}
	if err := json.Unmarshal(result, &r); err != nil || r.IsError || len(r.Content) == 0 {
		tb.Fatalf("result %s: %v", result, err)
	}
	return r.Content[0].Text
}
