package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/e2e/stack"
)

// TestMakeRunServesTheExamples: EXAMPLES=on builds the server with them, its tools work
// for the user who calls them, and the page of the MCP App shows in a browser what its
// tool answers.
func TestMakeRunServesTheExamples(t *testing.T) {
	for examples, builds := range map[string]string{"on": "./examples/server", "": " .\n"} {
		cmd := exec.Command("make", "-n", "run", "EXAMPLES="+examples)
		cmd.Dir = ".."
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "-o .bin/app "+strings.TrimSpace(builds)) || (examples == "") == strings.Contains(string(out), "examples") {
			t.Errorf("make run EXAMPLES=%s: %v\n%s", examples, err, out)
		}
	}
	binary := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", binary, "entramcp/examples/server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := runLauncher(t, binary, stack.FreePort(t), stack.FreePort(t), t.TempDir())
	run.waitFor("Connect ")

	ask := func(command string, env ...string) string {
		t.Helper()
		out, errs, err := run.command(command, env...)
		if err != nil {
			t.Fatalf("make %s %v: %v\n%s", command, env, err, errs)
		}
		return out
	}
	const hostile = `<img src=x onerror="document.title='owned'">`
	note, err := json.Marshal(map[string]string{"name": "shopping", "text": hostile})
	if err != nil {
		t.Fatal(err)
	}
	ask("call", "DEV_USER=bob", "DEV_TOOL=save_note", "DEV_ARGS="+string(note))
	var shown struct{ StructuredContent json.RawMessage }
	if err := json.Unmarshal([]byte(ask("call", "DEV_USER=bob", "DEV_TOOL=show_notes")), &shown); err != nil {
		t.Fatal(err)
	}
	if alice := ask("call", "DEV_USER=alice", "DEV_TOOL=show_notes"); strings.Contains(alice, "shopping") {
		t.Errorf("Alice sees Bob's note:\n%s", alice)
	}

	session, err := mcp.NewClient(&mcp.Implementation{Name: "host of apps", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: run.public + "/mcp", HTTPClient: &http.Client{Timeout: time.Minute, Transport: withHeader{"Authorization", "Bearer " + strings.TrimSpace(ask("token", "DEV_USER=bob"))}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	page, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "ui://notes/view.html"})
	if err != nil || len(page.Contents) != 1 {
		t.Fatalf("%+v %v", page, err)
	}

	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, appHost, html.EscapeString(page.Contents[0].Text), shown.StructuredContent)
	}))
	defer host.Close()
	c := stack.NewChromium(t)
	c.Do("the app in its host", chromedp.Navigate(host.URL), chromedp.WaitVisible("#answered"))
	if got := stack.Script[string](c, `document.querySelector("iframe").contentDocument.querySelector("dl").innerText`); got != "shopping\n"+hostile {
		t.Errorf("the app shows %q", got)
	}
	if title := stack.Script[string](c, `document.querySelector("iframe").contentDocument.title`); title != "Notes" {
		t.Errorf("what a note says was run: the title is %q", title)
	}
}

// appHost is the host's side of MCP Apps (2026-01-26) as far as a page needs it: it
// answers the page's ui/initialize and, once that is done, sends the tool's result.
const appHost = `<!doctype html><title>host</title><iframe srcdoc="%s"></iframe><script>
const frame = document.querySelector("iframe")
addEventListener("message", ({source, data}) => {
  if (source !== frame.contentWindow) return
  const send = message => source.postMessage({jsonrpc: "2.0", ...message}, "*")
  if (data.method === "ui/initialize") send({id: data.id, result: {protocolVersion: data.params.protocolVersion, hostInfo: {name: "host", version: "1"}, hostCapabilities: {}, hostContext: {}}})
  if (data.method === "ui/notifications/initialized") {
    send({method: "ui/notifications/tool-result", params: {content: [], structuredContent: %s}})
    new MutationObserver(() => document.body.append(Object.assign(document.createElement("p"), {id: "answered", textContent: "answered"})))
      .observe(frame.contentDocument.querySelector("dl"), {childList: true})
  }
})
</script>`
