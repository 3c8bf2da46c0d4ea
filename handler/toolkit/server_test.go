package toolkit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/clocktest"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/logtest"
	"entramcp/handler/mcphttp"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/telemetry"
	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

// revisions are one of each era: with sessions and without.
var revisions = []string{"2025-06-18", "2025-11-25", "2026-07-28"}

var greeting = toolkit.Define("greet", "Greet someone by name.", greet, toolkit.ReadOnly())

func echo(context.Context, *toolkit.Caller, struct{}) (string, error) { return "done", nil }

// inLog has the server log to out.
func inLog(out *logtest.Log) toolkittest.Option {
	return toolkittest.ServerOptions(func(o *toolkit.Options) { o.Log = out.JSON() })
}

// admitted is h for a request with the access that the guard has found.
func admitted(h http.Handler, access *grants.Access) http.Handler {
	return auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
		return &auth.TokenInfo{Extra: map[string]any{grants.AccessKey: access}}, nil
	}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(h)
}

// answer is what h answers to a call of a tool, as a client of 2025-11-25 sends it.
func answer(h http.Handler, tool string) string {
	r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, tool)))
	asClient(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String()
}

// TestHelloWorldGreetsInEveryRevision, with arguments as SDKs send them: the Go SDK's
// client sends null for an empty map, and its server cannot fill defaults into that.
func TestHelloWorldGreetsInEveryRevision(t *testing.T) {
	for _, revision := range revisions {
		t.Run(revision, func(t *testing.T) {
			client := toolkittest.SignIn(t, offering(greeting), toolkittest.User{}, toolkittest.Revision(revision))
			if got := client.Client.InitializeResult().ProtocolVersion; got != revision {
				t.Fatalf("speaks %s", got)
			}
			for name, tt := range map[string]struct {
				arguments any
				want      string
			}{
				"none":         {map[string]any{}, "Hello, World!"},
				"left out":     {nil, "Hello, World!"},
				"an empty map": {map[string]any(nil), "Hello, World!"},
				"null":         {json.RawMessage(" null "), "Hello, World!"},
				"a name":       {map[string]any{"name": "Ada"}, "Hello, Ada!"},
				"an empty one": {map[string]any{"name": ""}, "Hello, !"},
			} {
				got := client.Call("greet", tt.arguments)
				if diff := cmp.Diff(map[string]any{"result": tt.want}, got.Structured); diff != "" || got.Failed || got.Text != tt.want {
					t.Errorf("%s: %q %s", name, got.Text, diff)
				}
			}
			if got := client.Call("greet", map[string]any{"name": 7}); !got.Failed {
				t.Error("a number was taken for a name")
			}
		})
	}
}

func TestTheListIsCompleteSortedAndPrivate(t *testing.T) {
	client := toolkittest.SignIn(t, offering(greeting, toolkit.Define("admin_only", "For administrators.", echo, toolkit.RequireRole("Admin"), toolkit.RequireScopes("Admin.All"))), toolkittest.User{})
	list, err := client.Client.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Tools) != 2 || list.Tools[0].Name != "admin_only" || list.Tools[1].Name != "greet" {
		t.Fatalf("lists %v", list.Tools)
	}
	if list.CacheScope != "private" || list.TTLMs <= 0 {
		t.Errorf("cache scope %q, ttl %d", list.CacheScope, list.TTLMs)
	}
	schema, _ := json.Marshal(list.Tools[1].InputSchema)
	if !strings.Contains(string(schema), `"default":"World"`) || strings.Contains(string(schema), `"required"`) {
		t.Errorf("the schema of greet is %s", schema)
	}
	output, _ := json.Marshal(list.Tools[1].OutputSchema)
	if !strings.Contains(string(output), `"x-fastmcp-wrap-result":true`) {
		t.Errorf("the output schema of greet is %s", output)
	}
}

func TestToolsRunForNobodyWithoutAccess(t *testing.T) {
	if got := answer(toolkit.New(toolkit.Options{Catalogue: offering(greeting)}).Handler(), "greet"); !strings.Contains(got, `"isError":true`) || strings.Contains(got, "Hello") {
		t.Errorf("nobody was answered %s", got)
	}
}

func TestScopesAreCheckedBehindTheGuardToo(t *testing.T) {
	c := offering(toolkit.Define("send", "Send mail.", echo, toolkit.RequireScopes("Mail.Send", "Mail.Read")))
	if got := toolkit.New(toolkit.Options{Catalogue: c}).ScopesFor("tools/call", "send").String(); got != "Mail.Read Mail.Send" {
		t.Errorf("it needs %s", got)
	}
	if got := toolkittest.SignIn(t, c, toolkittest.User{Scopes: []string{"Mail.Read"}}).Call("send", nil); !got.Failed || !strings.Contains(got.Text, "Mail.Send") {
		t.Errorf("got %v", got)
	}
	if got := toolkittest.SignIn(t, c, toolkittest.User{Scopes: []string{"Mail.Read", "Mail.Send"}}).Call("send", nil); got.Failed {
		t.Error(got.Text)
	}
}

func TestMissingRoleSaysWhichAndWhoAssignsIt(t *testing.T) {
	reader := toolkittest.SignIn(t, offering(
		toolkit.Define("write", "Write.", echo, toolkit.RequireRole("Writer", "Admin")),
		toolkit.Define("read", "Read.", echo, toolkit.RequireRole("Reader", "Admin")),
	), toolkittest.User{Roles: []string{"Reader"}}, toolkittest.Revision("2025-11-25"))
	refused := reader.Call("write", nil)
	if !refused.Failed {
		t.Fatal("a reader wrote")
	}
	for _, want := range []string{"Writer or Admin", "administrator", "Enterprise applications", "Users and groups"} {
		if !strings.Contains(refused.Text, want) {
			t.Errorf("%q does not say %q", refused.Text, want)
		}
	}
	if got := reader.Call("read", nil); got.Failed {
		t.Error(got.Text)
	}
}

func TestPanicInAToolIsAToolErrorAndIsLogged(t *testing.T) {
	for _, revision := range revisions {
		var log logtest.Log
		client := toolkittest.SignIn(t, offering(greeting,
			toolkit.Define("crash", "Crash.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { panic("kaboom") }),
			toolkit.Define("unprintable", "Crash later.", func(context.Context, *toolkit.Caller, struct{}) (unprintable, error) { return unprintable{}, nil }),
		), toolkittest.User{}, toolkittest.Revision(revision), inLog(&log))
		for _, tool := range []string{"crash", "unprintable"} {
			if got := client.Call(tool, nil); !got.Failed || strings.Contains(got.Text, "kaboom") {
				t.Errorf("%s: %s: %q", revision, tool, got.Text)
			}
		}
		if got := client.Call("greet", nil); got.Failed {
			t.Errorf("%s: the server did not survive", revision)
		}
		if !strings.Contains(log.String(), "kaboom") || !strings.Contains(log.String(), "server_test.go") {
			t.Errorf("%s: no stack in the log", revision)
		}
	}
}

type unprintable struct {
	Field string `json:"field"`
}

func (unprintable) MarshalJSON() ([]byte, error) { panic("kaboom") }

func TestEachCallIsOneAuditEventWithoutArguments(t *testing.T) {
	var log logtest.Log
	ada := toolkittest.User{TenantID: "tenant", ObjectID: "ada"}
	client := toolkittest.SignIn(t, offering(greeting,
		toolkit.Define("fail", "Fail.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", errors.New("a-secret") }),
		toolkit.Define("forbidden", "Not for you.", echo, toolkit.RequireRole("Admin")),
	), ada, inLog(&log))
	client.Call("greet", map[string]any{"name": "a-secret"})
	client.Call("greet", map[string]any{"name": "a-secret", "made-up": 1})
	client.Call("fail", nil)
	client.Call("forbidden", nil)
	_, _ = client.Client.CallTool(t.Context(), &mcp.CallToolParams{Name: "made-up"})
	var got []string
	for _, line := range log.Lines(t) {
		if line["subject"] != string(grants.SubjectOf("tenant", "ada")) || line["grant_id"] != "grant of ada" || line["client_id"] != "client-1" {
			t.Errorf("who called is not in %v", line)
		}
		reason, _ := line["reason"].(string)
		got = append(got, fmt.Sprintf("%s/%s/%s", line["event"], line["tool"], reason))
	}
	want := []string{"tool_called/greet/", "tool_refused/greet/arguments", "tool_called/fail/error", "tool_refused/forbidden/scope or role"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(log.String(), "a-secret") || strings.Contains(log.String(), "made-up") {
		t.Errorf("the log tells too much: %s", &log)
	}
}

// TestNamesThatAClientMadeUpAreInNoSpan: a span is named for a tool or prompt that
// there is, and for nothing else that a client sent.
func TestNamesThatAClientMadeUpAreInNoSpan(t *testing.T) {
	var exported logtest.Log
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&exported, r.Body) }))
	defer collector.Close()
	traced, err := telemetry.New(telemetry.Options{Name: "mcp", Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	failing := toolkit.Define("fail", "Fail.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", errors.New("no") })
	client := toolkittest.SignIn(t, everything().With(offering(failing)), toolkittest.User{}, toolkittest.ServerOptions(func(o *toolkit.Options) { o.Telemetry = traced }))
	client.Call("greet", map[string]any{"name": "Ada"})
	client.Call("fail", nil)
	client.Prompt("hail", nil)
	_, _ = client.Client.CallTool(t.Context(), &mcp.CallToolParams{Name: "made-up"})
	_, _ = client.Client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "made-up"})
	if err := traced.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"tools/call greet": true, "prompts/get hail": true, "prompts/get": true, "made-up": false, "tool_error": true, "-32602": true,
	} {
		if strings.Contains(exported.String(), name) != want {
			t.Errorf("%q in the spans: %t", name, !want)
		}
	}
}

func TestCausesStayInTheLog(t *testing.T) {
	failing := func(name string, err error) toolkit.Tool {
		return toolkit.Define(name, "Fail.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", err })
	}
	var log logtest.Log
	client := toolkittest.SignIn(t, offering(
		failing("fail", toolkit.Fail("Try again tomorrow.", errors.New("inner cause"))),
		failing("unavailable", oauth.Unavailable("Storage does not answer.", 0, errors.New("inner cause"))),
		failing("plain", errors.New("no such city")),
	), toolkittest.User{}, inLog(&log))
	for tool, want := range map[string]string{"fail": "Try again tomorrow.", "unavailable": "Storage does not answer.", "plain": "no such city"} {
		if got := client.Call(tool, nil); !got.Failed || got.Text != want {
			t.Errorf("%s: got %q", tool, got.Text)
		}
	}
	if strings.Count(log.String(), "inner cause") != 2 {
		t.Errorf("the log has not both causes: %s", &log)
	}
}

func TestCancelledRequestStopsTheTool(t *testing.T) {
	started, stopped := make(chan struct{}), make(chan struct{})
	client := toolkittest.SignIn(t, offering(toolkit.Define("wait", "Wait.", func(ctx context.Context, _ *toolkit.Caller, _ struct{}) (string, error) {
		close(started)
		<-ctx.Done()
		close(stopped)
		return "", ctx.Err()
	})), toolkittest.User{}).Client
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, _ = client.CallTool(ctx, &mcp.CallToolParams{Name: "wait"})
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("the tool went on")
	}
}

// TestOnlyMessagesOfABoundedSizeAreTaken: there is no stream to GET and no session to
// DELETE.
func TestOnlyMessagesOfABoundedSizeAreTaken(t *testing.T) {
	h := toolkit.New(toolkit.Options{Catalogue: offering(greeting)}).Handler()
	for _, tt := range []struct {
		method       string
		size, status int
		allowed      string
	}{
		{http.MethodGet, 0, http.StatusMethodNotAllowed, http.MethodPost},
		{http.MethodDelete, 0, http.StatusMethodNotAllowed, http.MethodPost},
		{http.MethodPut, 0, http.StatusMethodNotAllowed, http.MethodPost},
		{http.MethodPost, mcphttp.MaxBody + 1, http.StatusRequestEntityTooLarge, ""},
	} {
		r, w := httptest.NewRequest(tt.method, "/mcp", bytes.NewReader(make([]byte, tt.size))), httptest.NewRecorder()
		asClient(r)
		h.ServeHTTP(w, r)
		if w.Code != tt.status || w.Header().Get("Allow") != tt.allowed {
			t.Errorf("%s of %d bytes: %d, Allow: %s", tt.method, tt.size, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestNoSessionOutlivesItsRequest(t *testing.T) {
	s := toolkit.New(toolkit.Options{Catalogue: offering(greeting)})
	for range 3 {
		answer(admitted(s.Handler(), &grants.Access{Subject: "s", ClientID: "c"}), "greet")
	}
	clocktest.Eventually(t, "no session is left", 5*time.Second, func() bool {
		for range s.MCP().Sessions() {
			return false
		}
		return true
	})
}

func TestResultsThatAreNoObjectsAreWrapped(t *testing.T) {
	catalogue := offering(
		toolkit.Define("list", "List.", func(context.Context, *toolkit.Caller, struct{}) ([]string, error) { return []string{"a", "b"}, nil }),
		toolkit.Define("number", "Count.", func(context.Context, *toolkit.Caller, struct{}) (int, error) { return 7, nil }),
		toolkit.Define("image", "Draw.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{MIMEType: "image/png", Data: []byte{1}}}}, nil
		}),
	)
	for _, revision := range revisions {
		client := toolkittest.SignIn(t, catalogue, toolkittest.User{}, toolkittest.Revision(revision))
		for tool, want := range map[string]toolkittest.Result{
			"list": {Text: `["a","b"]`, Structured: map[string]any{"result": []any{"a", "b"}}}, "number": {Text: "7", Structured: map[string]any{"result": 7.0}}, "image": {},
		} {
			got := client.Call(tool, nil)
			_, image := got.Raw.Content[0].(*mcp.ImageContent)
			if diff := cmp.Diff(want.Structured, got.Structured); diff != "" || got.Text != want.Text || image != (tool == "image") {
				t.Errorf("%s: %s: %q %s", revision, tool, got.Text, diff)
			}
		}
	}
}

// TestToolsCanSpeakTheProtocol: a tool can refuse a call with a code of its own.
func TestToolsCanSpeakTheProtocol(t *testing.T) {
	client := toolkittest.SignIn(t, offering(toolkit.Define("refuse", "Refuse.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
		return "", &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling"}
	})), toolkittest.User{}).Client
	_, err := client.CallTool(t.Context(), &mcp.CallToolParams{Name: "refuse"})
	if refused := new(jsonrpc.Error); !errors.As(err, &refused) || refused.Code != mcp.CodeMissingRequiredClientCapabilities {
		t.Errorf("got %v", err)
	}
}

// TestACallerWithEntrasOwnTokenActsWithIt: there is no grant to read.
func TestACallerWithEntrasOwnTokenActsWithIt(t *testing.T) {
	who := &grants.Access{Subject: "5ab1ec7", ClientID: "client-1", Scopes: oauth.NewScopes("User.Read"), Identity: &grants.Identity{ObjectID: "oid-1"},
		Assertion: grants.EntraAccessToken{Value: secret.New("entras-own")}, Expires: time.Now().Add(time.Hour).Truncate(time.Second)}
	var got grants.Grant
	s := toolkit.New(toolkit.Options{API: takes{&got}, Catalogue: offering(toolkit.Define("token", "Token.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		identity, err := c.Identity(ctx)
		if err == nil {
			_, err = c.Token(ctx, "User.Read")
		}
		return identity.ObjectID, err
	}, toolkit.CallAPI("User.Read")))})
	if body := answer(admitted(s.Handler(), who), "token"); !strings.Contains(body, `"text":"oid-1"`) || strings.Contains(body, "isError") {
		t.Fatal(body)
	}
	if got.Assertion.Reveal() != "entras-own" || !got.AssertionExpires.Equal(who.Expires) || got.Subject != who.Subject || got.ClientID != who.ClientID || got.Identity.ObjectID != "oid-1" || got.Scopes.String() != "User.Read" {
		t.Errorf("got %+v", got)
	}
}

type takes struct{ grant *grants.Grant }

func (a takes) Token(_ context.Context, g grants.Grant, _ ...string) (entra.APIToken, error) {
	*a.grant = g
	return entra.APIToken{}, nil
}

func (takes) Refused(grants.Grant, entra.APIToken, ...string) {}

// TestTheLogOfACallerSaysWhoAndWhich, whatever a tool adds to it.
func TestTheLogOfACallerSaysWhoAndWhich(t *testing.T) {
	var log logtest.Log
	toolkittest.SignIn(t, offering(toolkit.Define("note", "Note.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		c.Log.InfoContext(ctx, "plain")
		c.Log.With("a", 1).InfoContext(ctx, "attribute")
		c.Log.WithGroup("g").InfoContext(ctx, "group", "b", 2)
		return "", nil
	})), bob, inLog(&log)).Call("note", nil)
	who := string(grants.SubjectOf("f2a49aef-3c2c-4e9b-8f5a-2f7b7a6f0001", "bob"))
	for _, want := range []string{`"msg":"plain","tool":"note","subject":"` + who + `"`, `"msg":"attribute","tool":"note","subject":"` + who + `","a":1`, `"msg":"group","tool":"note","subject":"` + who + `","g":{"b":2}`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log.String())
		}
	}
}
