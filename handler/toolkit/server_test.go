package toolkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/telemetry"
)

// revisions are one of each era: with sessions and without.
var revisions = []string{"2025-06-18", "2025-11-25", "2026-07-28"}

type greetInput struct {
	Name string `json:"name,omitempty" jsonschema:"Who to greet." default:"World"`
}

// offer is a catalogue of greet and more.
func offer(more ...Tool) Catalogue {
	return Catalogue{About: About{Name: "test"}, Tools: append(more, Define("greet", "Greet someone by name.",
		func(_ context.Context, _ *Caller, in greetInput) (string, error) {
			return "Hello, " + in.Name + "!", nil
		}, ReadOnly()))}
}

func access(scopes ...string) *grants.Access {
	return &grants.Access{Subject: "5ab1ec7", GrantID: "grant-1", ClientID: "client-1", Scopes: oauth.NewScopes(scopes...), Roles: []string{"Reader"}}
}

// serve runs the server with every caller admitted as who; nil is nobody.
func serve(t testing.TB, s *Server, who *grants.Access) string {
	t.Helper()
	next := s.Handler()
	if who != nil {
		next = auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
			return &auth.TokenInfo{UserID: string(who.Subject), Extra: map[string]any{grants.AccessKey: who}}, nil
		}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(next)
	}
	server := httptest.NewServer(next)
	t.Cleanup(server.Close)
	return server.URL
}

type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token")
	return http.DefaultTransport.RoundTrip(r)
}

func connect(t testing.TB, url, revision string, options *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer{}, Timeout: 20 * time.Second}, DisableStandaloneSSE: true},
		&mcp.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func call(t testing.TB, session *mcp.ClientSession, tool string, args any) *mcp.CallToolResult {
	t.Helper()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func text(t testing.TB, result *mcp.CallToolResult) string {
	t.Helper()
	if len(result.Content) != 1 {
		t.Fatalf("%d pieces of content, want 1", len(result.Content))
	}
	return result.Content[0].(*mcp.TextContent).Text
}

func logged(out *bytes.Buffer, lock *sync.Mutex) *slog.Logger {
	return slog.New(slog.NewJSONHandler(&lockedWriter{out, lock}, nil))
}

type lockedWriter struct {
	out  *bytes.Buffer
	lock *sync.Mutex
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.out.Write(p)
}

func TestHelloWorldGreetsInEveryRevision(t *testing.T) {
	url := serve(t, New(Options{Catalogue: offer()}), access())
	for _, revision := range revisions {
		t.Run(revision, func(t *testing.T) {
			session := connect(t, url, revision, nil)
			if got := session.InitializeResult().ProtocolVersion; got != revision {
				t.Fatalf("speaks %s", got)
			}
			for name, args := range map[string]any{
				"World": map[string]any{},
				"Ada":   map[string]any{"name": "Ada"},
				"":      map[string]any{"name": ""},
			} {
				want := "Hello, " + name + "!"
				result := call(t, session, "greet", args)
				if result.IsError || text(t, result) != want {
					t.Errorf("got %q, want %q", text(t, result), want)
				}
				if diff := cmp.Diff(map[string]any{"result": want}, result.StructuredContent); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestArgumentsThatDoNotFitTheSchemaAreToolErrors(t *testing.T) {
	session := connect(t, serve(t, New(Options{Catalogue: offer()}), access()), "2026-07-28", nil)
	if result := call(t, session, "greet", map[string]any{"name": 7}); !result.IsError {
		t.Error("a number was taken for a name")
	}
}

func TestTheListIsCompleteSortedAndPrivate(t *testing.T) {
	s := New(Options{Catalogue: offer(Define("admin_only", "For administrators.", echo, RequireRole("Admin"), RequireScopes("Admin.All")))})
	session := connect(t, serve(t, s, access()), "2026-07-28", nil)
	list, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	if diff := cmp.Diff([]string{"admin_only", "greet"}, names); diff != "" {
		t.Error(diff)
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
	if caps, _ := json.Marshal(session.InitializeResult().Capabilities); string(caps) != `{"tools":{}}` {
		t.Errorf("advertises %s", caps)
	}
}

func TestToolsRunForNobodyWithoutAccess(t *testing.T) {
	session := connect(t, serve(t, New(Options{Catalogue: offer()}), nil), "2026-07-28", nil)
	if result := call(t, session, "greet", nil); !result.IsError {
		t.Error("greeted nobody")
	}
}

func TestScopesAreCheckedBehindTheGuardToo(t *testing.T) {
	s := New(Options{Catalogue: offer(Define("send", "Send mail.", echo, RequireScopes("Mail.Send", "Mail.Read")))})
	if diff := cmp.Diff(oauth.Scopes{"Mail.Read", "Mail.Send"}, s.ScopesFor("tools/call", "send")); diff != "" {
		t.Error(diff)
	}
	for _, other := range [][2]string{{"tools/list", "send"}, {"tools/call", "greet"}, {"tools/call", "nothing"}, {"", ""}} {
		if got := s.ScopesFor(other[0], other[1]); len(got) != 0 {
			t.Errorf("%v needs %v", other, got)
		}
	}
	refused := call(t, connect(t, serve(t, s, access("Mail.Read")), "2026-07-28", nil), "send", nil)
	if !refused.IsError || !strings.Contains(text(t, refused), "Mail.Send") {
		t.Errorf("got %v", refused)
	}
	if result := call(t, connect(t, serve(t, s, access("Mail.Read", "Mail.Send")), "2026-07-28", nil), "send", nil); result.IsError {
		t.Error(text(t, result))
	}
}

func TestMissingRoleSaysWhichAndWhoAssignsIt(t *testing.T) {
	s := New(Options{Catalogue: offer(
		Define("write", "Write.", echo, RequireRole("Writer", "Admin")),
		Define("read", "Read.", echo, RequireRole("Reader", "Admin")),
	)})
	session := connect(t, serve(t, s, access()), "2025-11-25", nil)
	refused := call(t, session, "write", nil)
	if !refused.IsError {
		t.Fatal("a reader wrote")
	}
	for _, want := range []string{"Writer or Admin", "administrator", "Enterprise applications", "Users and groups"} {
		if !strings.Contains(text(t, refused), want) {
			t.Errorf("%q does not say %q", text(t, refused), want)
		}
	}
	if result := call(t, session, "read", nil); result.IsError {
		t.Error(text(t, result))
	}
}

func TestPanicInAToolIsAToolErrorAndIsLogged(t *testing.T) {
	var out bytes.Buffer
	var lock sync.Mutex
	s := New(Options{Log: logged(&out, &lock), Catalogue: offer(
		Define("crash", "Crash.", func(context.Context, *Caller, struct{}) (string, error) { panic("kaboom") }),
		Define("unprintable", "Crash later.", func(context.Context, *Caller, struct{}) (unprintable, error) { return unprintable{}, nil }),
	)})
	for _, revision := range revisions {
		session := connect(t, serve(t, s, access()), revision, nil)
		if result := call(t, session, "crash", nil); !result.IsError || strings.Contains(text(t, result), "kaboom") {
			t.Errorf("%s: got %v", revision, result)
		}
		if result := call(t, session, "unprintable", nil); !result.IsError || strings.Contains(text(t, result), "kaboom") {
			t.Errorf("%s: got %v", revision, result)
		}
		if result := call(t, session, "greet", nil); result.IsError {
			t.Errorf("%s: the server did not survive", revision)
		}
	}
	lock.Lock()
	defer lock.Unlock()
	if !strings.Contains(out.String(), "kaboom") || !strings.Contains(out.String(), "server_test.go") {
		t.Error("no stack in the log")
	}
}

type unprintable struct {
	Field string `json:"field"`
}

func (unprintable) MarshalJSON() ([]byte, error) { panic("kaboom") }

func TestEachCallIsOneAuditEventWithoutArguments(t *testing.T) {
	var out bytes.Buffer
	var lock sync.Mutex
	s := New(Options{Log: logged(&out, &lock), Catalogue: offer(
		Define("fail", "Fail.", func(context.Context, *Caller, struct{}) (string, error) { return "", errors.New("a-secret") }),
		Define("forbidden", "Not for you.", echo, RequireRole("Admin")),
	)})
	session := connect(t, serve(t, s, access()), "2026-07-28", nil)
	call(t, session, "greet", map[string]any{"name": "a-secret"})
	call(t, session, "greet", map[string]any{"name": "a-secret", "made-up": 1})
	call(t, session, "fail", nil)
	call(t, session, "forbidden", nil)
	_, _ = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "made-up"})
	lock.Lock()
	defer lock.Unlock()
	var got []string
	for line := range strings.Lines(out.String()) {
		var e struct{ Event, Tool, Reason, Subject, Grant_ID, Client_ID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Subject != "5ab1ec7" || e.Grant_ID != "grant-1" || e.Client_ID != "client-1" {
			t.Errorf("who called is not in %s", line)
		}
		got = append(got, strings.Join([]string{e.Event, e.Tool, e.Reason}, "/"))
	}
	want := []string{"tool_called/greet/", "tool_refused/greet/arguments", "tool_called/fail/error", "tool_refused/forbidden/scope or role"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(out.String(), "a-secret") || strings.Contains(out.String(), "made-up") {
		t.Errorf("the log tells too much: %s", &out)
	}
}

// TestNamesThatAClientMadeUpAreInNoSpan: a span is named for a tool or prompt that
// there is, and for nothing else that a client sent.
func TestNamesThatAClientMadeUpAreInNoSpan(t *testing.T) {
	var lock sync.Mutex
	var exported bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		lock.Lock()
		defer lock.Unlock()
		_, _ = io.Copy(&exported, r.Body)
	}))
	defer collector.Close()
	traced, err := telemetry.New(telemetry.Options{Name: "mcp", Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	session := connect(t, serve(t, New(Options{Telemetry: traced, Catalogue: offer()}), access()), "2026-07-28", nil)
	call(t, session, "greet", map[string]any{"name": "Ada"})
	_, _ = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "made-up"})
	_, _ = session.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "made-up"})
	if err := traced.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	defer lock.Unlock()
	for name, want := range map[string]bool{"tools/call greet": true, "prompts/get": true, "made-up": false} {
		if strings.Contains(exported.String(), name) != want {
			t.Errorf("%q in the spans: %t", name, !want)
		}
	}
}

func TestCausesStayInTheLog(t *testing.T) {
	var out bytes.Buffer
	var lock sync.Mutex
	s := New(Options{Log: logged(&out, &lock), Catalogue: offer(
		Define("fail", "Fail.", func(context.Context, *Caller, struct{}) (string, error) {
			return "", Fail("Try again tomorrow.", errors.New("inner cause"))
		}),
		Define("unavailable", "Fail.", func(context.Context, *Caller, struct{}) (string, error) {
			return "", oauth.Unavailable("Storage does not answer.", 0, errors.New("inner cause"))
		}),
		Define("plain", "Fail.", func(context.Context, *Caller, struct{}) (string, error) {
			return "", errors.New("no such city")
		}),
	)})
	session := connect(t, serve(t, s, access()), "2026-07-28", nil)
	for tool, want := range map[string]string{"fail": "Try again tomorrow.", "unavailable": "Storage does not answer.", "plain": "no such city"} {
		if result := call(t, session, tool, nil); !result.IsError || text(t, result) != want {
			t.Errorf("%s: got %q", tool, text(t, result))
		}
	}
	lock.Lock()
	defer lock.Unlock()
	if strings.Count(out.String(), "inner cause") != 2 {
		t.Errorf("the log has not both causes: %s", &out)
	}
}

func TestCancelledRequestStopsTheTool(t *testing.T) {
	started, stopped := make(chan struct{}), make(chan struct{})
	s := New(Options{Catalogue: offer(Define("wait", "Wait.", func(ctx context.Context, _ *Caller, _ struct{}) (string, error) {
		close(started)
		<-ctx.Done()
		close(stopped)
		return "", ctx.Err()
	}))})
	session := connect(t, serve(t, s, access()), "2026-07-28", nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	_, _ = session.CallTool(ctx, &mcp.CallToolParams{Name: "wait"})
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("the tool went on")
	}
}

func TestGetAndDeleteAreNotAllowed(t *testing.T) {
	url := serve(t, New(Options{Catalogue: offer()}), access())
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
		req, _ := http.NewRequestWithContext(t.Context(), method, url, nil)
		resp, err := (&http.Client{Transport: bearer{}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != http.MethodPost {
			t.Errorf("%s: %s, Allow: %s", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
}

func TestLargeBodiesAreRefused(t *testing.T) {
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, serve(t, New(Options{Catalogue: offer()}), access()), bytes.NewReader(make([]byte, mcphttp.MaxBody+1)))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := (&http.Client{Transport: bearer{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Error(resp.Status)
	}
}

func echo(context.Context, *Caller, struct{}) (string, error) { return "done", nil }

func TestNoSessionOutlivesItsRequest(t *testing.T) {
	s := New(Options{Catalogue: offer()})
	url := serve(t, s, access())
	for _, revision := range revisions {
		call(t, connect(t, url, revision, nil), "greet", nil)
	}
	deadline := time.Now().Add(5 * time.Second)
	for range s.MCP().Sessions() {
		if time.Now().After(deadline) {
			t.Fatal("sessions pile up")
		}
	}
}

func TestResultsThatAreNoObjectsAreWrapped(t *testing.T) {
	s := New(Options{Catalogue: offer(
		Define("list", "List.", func(context.Context, *Caller, struct{}) ([]string, error) { return []string{"a", "b"}, nil }),
		Define("number", "Count.", func(context.Context, *Caller, struct{}) (int, error) { return 7, nil }),
		Define("image", "Draw.", func(context.Context, *Caller, struct{}) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ImageContent{MIMEType: "image/png", Data: []byte{1}}}}, nil
		}),
	)})
	for _, revision := range revisions {
		session := connect(t, serve(t, s, access()), revision, nil)
		list := call(t, session, "list", nil)
		if diff := cmp.Diff(map[string]any{"result": []any{"a", "b"}}, list.StructuredContent); diff != "" || text(t, list) != `["a","b"]` {
			t.Error(revision, diff, text(t, list))
		}
		number := call(t, session, "number", nil)
		if diff := cmp.Diff(map[string]any{"result": 7.0}, number.StructuredContent); diff != "" || text(t, number) != "7" {
			t.Error(revision, diff, text(t, number))
		}
		image := call(t, session, "image", nil)
		if _, ok := image.Content[0].(*mcp.ImageContent); !ok || image.StructuredContent != nil {
			t.Errorf("%s: got %+v", revision, image)
		}
	}
}

// TestGoClientsCallWithoutArguments: the Go SDK's client sends null for an empty
// map, and its server cannot fill defaults into that.
func TestGoClientsCallWithoutArguments(t *testing.T) {
	url := serve(t, New(Options{Catalogue: offer()}), access())
	for _, revision := range revisions {
		session := connect(t, url, revision, nil)
		for name, arguments := range map[string]any{
			"left out": nil, "an empty map": map[string]any(nil), "null": json.RawMessage(" null "), "none": map[string]any{},
		} {
			if got := text(t, call(t, session, "greet", arguments)); !strings.HasPrefix(got, "Hello, World!") {
				t.Errorf("%s: %s: %s", revision, name, got)
			}
		}
	}
}

// TestToolsCanSpeakTheProtocol: a tool can refuse a call with a code of its own.
func TestToolsCanSpeakTheProtocol(t *testing.T) {
	s := New(Options{Catalogue: offer(
		Define("refuse", "Refuse.", func(context.Context, *Caller, struct{}) (string, error) {
			return "", &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "sampling"}
		}),
	)})
	_, err := connect(t, serve(t, s, access()), "2026-07-28", nil).CallTool(t.Context(), &mcp.CallToolParams{Name: "refuse"})
	if refused := new(jsonrpc.Error); !errors.As(err, &refused) || refused.Code != mcp.CodeMissingRequiredClientCapabilities {
		t.Errorf("got %v", err)
	}
}

// TestACallerWithEntrasOwnTokenActsWithIt: there is no grant to read.
func TestACallerWithEntrasOwnTokenActsWithIt(t *testing.T) {
	who := access("User.Read")
	who.GrantID, who.Assertion, who.Expires = "", grants.EntraAccessToken{Value: secret.New("entras-own")}, time.Now().Add(time.Hour).Truncate(time.Second)
	who.Identity = &grants.Identity{ObjectID: "oid-1"}
	var got grants.Grant
	s := New(Options{API: takes{&got}, Catalogue: offer(Define("token", "Token.", func(ctx context.Context, c *Caller, _ struct{}) (string, error) {
		identity, err := c.Identity(ctx)
		if err == nil {
			_, err = c.Token(ctx, "User.Read")
		}
		return identity.ObjectID, err
	}, CallAPI("User.Read")))})
	if result := call(t, connect(t, serve(t, s, who), "2026-07-28", nil), "token", nil); result.IsError || text(t, result) != "oid-1" {
		t.Fatal(text(t, result))
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
	var out bytes.Buffer
	var lock sync.Mutex
	s := New(Options{Log: logged(&out, &lock), Catalogue: offer(Define("note", "Note.", func(ctx context.Context, c *Caller, _ struct{}) (string, error) {
		c.Log.InfoContext(ctx, "plain")
		c.Log.With("a", 1).InfoContext(ctx, "attribute")
		c.Log.WithGroup("g").InfoContext(ctx, "group", "b", 2)
		return "", nil
	}))})
	call(t, connect(t, serve(t, s, access()), "2026-07-28", nil), "note", nil)
	lock.Lock()
	defer lock.Unlock()
	for _, want := range []string{`"msg":"plain","tool":"note","subject":"5ab1ec7"`, `"msg":"attribute","tool":"note","subject":"5ab1ec7","a":1`, `"msg":"group","tool":"note","subject":"5ab1ec7","g":{"b":2}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}
