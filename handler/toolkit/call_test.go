package toolkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/clocktest"
	"entramcp/handler/grants"
	"entramcp/handler/logtest"
	"entramcp/handler/observe"
	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

type named struct {
	Name string `json:"name,omitempty" default:"World"`
}

func greet(_ context.Context, _ *toolkit.Caller, in named) (string, error) {
	return "Hello, " + in.Name + "!", nil
}

// everything has one of each kind.
func everything(hooks ...toolkit.Hook) toolkit.Catalogue {
	return toolkit.Catalogue{
		Tools: []toolkit.Tool{toolkit.Define("greet", "Greet.", greet)},
		Resources: []toolkit.Resource{
			toolkit.DefineResource("about", "demo://about", "About.", func(context.Context, *toolkit.Caller) (string, error) { return "about", nil }),
			toolkit.DefineTemplate("person", "demo://people/{name}", "A person.", greet,
				toolkit.Complete("name", func(_ context.Context, c *toolkit.Caller, typed string) ([]string, error) {
					return []string{typed + "da"}, nil
				})),
		},
		Prompts: []toolkit.Prompt{toolkit.DefinePrompt("hail", "Hail.", greet)},
		Hooks:   hooks,
	}
}

// recorder notes what hooks saw, and refuses what it is told to.
type recorder struct {
	mu     sync.Mutex
	seen   []string
	refuse string
}

func (r *recorder) hook(name string) toolkit.Hook {
	note := func(when string, c *toolkit.Call, more string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		entry := strings.TrimSpace(name + " " + when + " " + c.Kind + " " + c.Name + " " + string(c.Arguments) + " " + more)
		r.seen = append(r.seen, entry)
		if r.refuse != "" && strings.HasPrefix(entry, r.refuse) {
			return toolkit.Fail("Not today.", errors.New("policy 7"))
		}
		return nil
	}
	return toolkit.Hook{
		Name:   name,
		Before: func(_ context.Context, c *toolkit.Call) error { return note("before", c, string(c.Caller.ClientID)) },
		After: func(_ context.Context, c *toolkit.Call, result mcp.Result, failed error) error {
			raw, _ := json.Marshal(result)
			if failed != nil {
				raw = []byte(failed.Error())
			}
			return note("after", c, string(raw))
		},
	}
}

// TestHooksSeeEverythingInOrder: tools, resources, prompts and completions, with checked
// arguments and the caller before, and what goes out after.
func TestHooksSeeEverythingInOrder(t *testing.T) {
	var r recorder
	client := toolkittest.SignIn(t, everything(r.hook("one"), r.hook("two")), toolkittest.User{})
	client.Call("greet", nil)
	if len(r.seen) != 4 || r.seen[0] != `one before tool greet {"name":"World"} client-1` || !strings.HasPrefix(r.seen[1], "two before") ||
		!strings.HasPrefix(r.seen[2], `two after tool greet {"name":"World"} {"content":`) || !strings.HasPrefix(r.seen[3], "one after") {
		t.Errorf("saw %q", r.seen)
	}
	for what, use := range map[string]func(){
		`resource about {} client-1`:              func() { client.Read("demo://about") },
		`resource person {"name":"A%a"} client-1`: func() { client.Read("demo://people/A%25a") },
		`prompt hail {"name":"Bob"} client-1`:     func() { client.Prompt("hail", map[string]string{"name": "Bob"}) },
		`completion person`: func() {
			got, err := client.Client.Complete(t.Context(), &mcp.CompleteParams{
				Ref: &mcp.CompleteReference{Type: "ref/resource", URI: "demo://people/{name}"}, Argument: mcp.CompleteParamsArgument{Name: "name", Value: "A"},
			})
			if err != nil || len(got.Completion.Values) != 1 || got.Completion.Values[0] != "Ada" {
				t.Errorf("completion: %v, %v", got, err)
			}
		},
	} {
		r.seen = nil
		use()
		if len(r.seen) != 4 || !strings.HasPrefix(r.seen[0], "one before "+what) {
			t.Errorf("%s: saw %q", what, r.seen)
		}
	}
}

// TestHooksRefuse in their own words with a reference, before the function runs or before
// its answer leaves. Causes are for the log.
func TestHooksRefuse(t *testing.T) {
	for _, refuse := range []string{"one before", "two after"} {
		r := recorder{refuse: refuse}
		client := toolkittest.SignIn(t, everything(r.hook("one"), r.hook("two")), toolkittest.User{})
		if got := client.Call("greet", nil); !got.Failed || got.Text != "Not today." {
			t.Errorf("%s: %q", refuse, got.Text)
		}
		if refuse == "one before" && len(r.seen) != 1 {
			t.Errorf("after a refusal: %q", r.seen)
		}
		_, read := client.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://about"})
		_, got := client.Client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "hail"})
		for what, err := range map[string]error{"resource": read, "prompt": got} {
			if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || !strings.Contains(protocol.Message, "Not today.") || strings.Contains(protocol.Message, "policy") {
				t.Errorf("%s, %s: %v", refuse, what, err)
			}
		}
	}
}

// TestHooksFailClosed: one that panics or fails on its own refuses, and says nothing of
// why.
func TestHooksFailClosed(t *testing.T) {
	for name, hook := range map[string]toolkit.Hook{
		"before panics": {Name: "x", Before: func(context.Context, *toolkit.Call) error { panic("kaboom") }},
		"after panics":  {Name: "x", After: func(context.Context, *toolkit.Call, mcp.Result, error) error { panic("kaboom") }},
	} {
		var ran atomic.Bool
		c := toolkit.Catalogue{Hooks: []toolkit.Hook{hook}, Tools: []toolkit.Tool{
			toolkit.Define("run", "Run.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
				ran.Store(true)
				return "secret", nil
			}),
		}}
		got := toolkittest.SignIn(t, c, toolkittest.User{}).Call("run", nil)
		if !got.Failed || strings.Contains(got.Text, "kaboom") || strings.Contains(got.Text, "secret") || ran.Load() != (name == "after panics") {
			t.Errorf("%s: %q, ran %v", name, got.Text, ran.Load())
		}
	}
}

// TestRulesGuardEveryKind, in lists too where they are hidden.
func TestRulesGuardEveryKind(t *testing.T) {
	secret := []toolkit.Rule{toolkit.RequireRole("Admin"), toolkit.HideUnlessAllowed()}
	c := toolkit.Catalogue{
		Tools: []toolkit.Tool{
			toolkit.Define("greet", "Greet.", greet),
			toolkit.Define("secret", "Secret.", greet, secret...),
			toolkit.Define("shown", "Refused but shown.", greet, toolkit.RequireRole("Admin")),
		},
		Resources: []toolkit.Resource{
			toolkit.DefineResource("secret", "demo://secret", "Secret.", func(context.Context, *toolkit.Caller) (string, error) { return "s", nil }, secret...),
			toolkit.DefineTemplate("secrets", "demo://secrets/{name}", "Secret.", greet, append(secret,
				toolkit.Complete("name", func(context.Context, *toolkit.Caller, string) ([]string, error) { return []string{"s"}, nil }))...),
		},
		Prompts: []toolkit.Prompt{toolkit.DefinePrompt("secret", "Secret.", greet, secret...)},
	}
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		admin := toolkittest.SignIn(t, c, toolkittest.User{Roles: []string{"Admin"}}, toolkittest.Revision(revision))
		other := toolkittest.SignIn(t, c, toolkittest.User{Roles: []string{"Reader"}}, toolkittest.Revision(revision))
		if diff := cmp.Diff([]string{"greet", "secret", "shown", "demo://secret", "demo://secrets/{name}", "secret"}, lists(t, admin.Client)); diff != "" {
			t.Errorf("%s: the administrator sees %s", revision, diff)
		}
		if diff := cmp.Diff([]string{"greet", "shown"}, lists(t, other.Client)); diff != "" {
			t.Errorf("%s: others see %s", revision, diff)
		}
		if got := admin.Call("secret", nil); got.Failed || admin.Read("demo://secret") != "s" || admin.Prompt("secret", nil) == "" {
			t.Errorf("%s: the administrator is refused", revision)
		}
		for _, tool := range []string{"secret", "shown"} {
			if got := other.Call(tool, nil); !got.Failed || !strings.Contains(got.Text, "Admin") {
				t.Errorf("%s: others use %s: %q", revision, tool, got.Text)
			}
		}
		_, read := other.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://secret"})
		_, readOne := other.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://secrets/a"})
		_, got := other.Client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "secret"})
		_, completed := other.Client.Complete(t.Context(), &mcp.CompleteParams{
			Ref: &mcp.CompleteReference{Type: "ref/resource", URI: "demo://secrets/{name}"}, Argument: mcp.CompleteParamsArgument{Name: "name"},
		})
		for what, err := range map[string]error{"resource": read, "template": readOne, "prompt": got, "completion": completed} {
			if err == nil || !strings.Contains(err.Error(), "Admin") {
				t.Errorf("%s: others use the %s: %v", revision, what, err)
			}
		}
	}
}

// TestCompletionsAreThoseOfWhatIsNamed: another's values may be private, and the
// rules of another would judge who sees them.
func TestCompletionsAreThoseOfWhatIsNamed(t *testing.T) {
	value := func(v string) toolkit.Rule {
		return toolkit.Complete("name", func(context.Context, *toolkit.Caller, string) ([]string, error) { return []string{v}, nil })
	}
	client := toolkittest.SignIn(t, toolkit.Catalogue{
		Resources: []toolkit.Resource{
			toolkit.DefineTemplate("one", "demo://one/{name}", "One.", greet, value("resource one")),
			toolkit.DefineTemplate("two", "demo://two/{name}", "Two.", greet, value("resource two")),
		},
		Prompts: []toolkit.Prompt{
			toolkit.DefinePrompt("one", "One.", greet, value("prompt one")),
			toolkit.DefinePrompt("two", "Two.", greet, value("prompt two")),
		},
	}, toolkittest.User{})
	for want, ref := range map[string]*mcp.CompleteReference{
		"resource one": {Type: "ref/resource", URI: "demo://one/{name}"}, "resource two": {Type: "ref/resource", URI: "demo://two/{name}"},
		"prompt one": {Type: "ref/prompt", Name: "one"}, "prompt two": {Type: "ref/prompt", Name: "two"},
	} {
		got, err := client.Client.Complete(t.Context(), &mcp.CompleteParams{Ref: ref, Argument: mcp.CompleteParamsArgument{Name: "name"}})
		if err != nil || len(got.Completion.Values) != 1 || got.Completion.Values[0] != want {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
}

func lists(t *testing.T, c *mcp.ClientSession) []string {
	t.Helper()
	var names []string
	tools, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tools.Tools {
		names = append(names, x.Name)
	}
	resources, err := c.ListResources(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range resources.Resources {
		names = append(names, x.URI)
	}
	templates, err := c.ListResourceTemplates(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range templates.ResourceTemplates {
		names = append(names, x.URITemplate)
	}
	prompts, err := c.ListPrompts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range prompts.Prompts {
		names = append(names, x.Name)
	}
	return names
}

// TestCallsAreLimitedInAWindow for each user and each tool, with the time of the next one;
// a limit of a tool's own counts instead of the server's.
func TestCallsAreLimitedInAWindow(t *testing.T) {
	c := clocktest.At(time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC))
	limited := toolkittest.ServerOptions(func(o *toolkit.Options) {
		o.UserCalls = toolkit.CallLimit{Calls: 4, Window: time.Minute}
		o.ToolCalls = toolkit.CallLimit{Calls: 2, Window: time.Minute}
	})
	catalogue := offering(toolkit.Define("greet", "Greet.", greet), toolkit.Define("again", "Greet.", greet),
		toolkit.Define("rare", "Greet.", greet, toolkit.Limit(toolkit.CallLimit{Calls: 1, Window: time.Hour})))
	client := toolkittest.SignIn(t, catalogue, toolkittest.User{}, limited, toolkittest.At(c.Now))
	call := func(tool string, wanted ...string) {
		t.Helper()
		got := client.Call(tool, nil)
		if got.Failed != (len(wanted) > 0) {
			t.Errorf("%s: %q", tool, got.Text)
		}
		for _, w := range wanted {
			if !strings.Contains(got.Text, w) {
				t.Errorf("%s: %q does not say %q", tool, got.Text, w)
			}
		}
	}
	call("greet")
	call("greet")
	c.Advance(20 * time.Second)
	call("greet", "this tool 2 times in 1m0s", "2026-11-26T10:01:00Z, in 40s")
	call("rare")
	call("rare", "1 times in 1h0m0s", "in 1h0m0s")
	call("again")
	call("again", "this server 4 times", "in 40s")
	c.Advance(40 * time.Second)
	call("greet")
	call("rare", "1 times in 1h0m0s")
	if got := toolkittest.SignIn(t, catalogue, bob, limited, toolkittest.At(c.Now)).Call("rare", nil); got.Failed {
		t.Errorf("another user: %q", got.Text)
	}
}

// TestAnswersAndArgumentsAreBounded: what a client sends or a tool returns in excess costs
// a short refusal.
func TestAnswersAndArgumentsAreBounded(t *testing.T) {
	client := toolkittest.SignIn(t, offering(
		toolkit.Define("greet", "Greet.", greet),
		toolkit.Define("large", "Large.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
			return strings.Repeat("x", 600<<10), nil
		}),
		toolkit.Define("allowed", "Large.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
			return strings.Repeat("x", 600<<10), nil
		}, toolkit.MaxResult(2<<20)),
	), toolkittest.User{})
	for _, arguments := range []map[string]any{
		{"name": strings.Repeat("x", 3<<20)}, {strings.Repeat("x", 3<<20): 1}, {"name": map[string]any{"a": strings.Repeat("x", 3<<20)}},
	} {
		if got := client.Call("greet", arguments); !got.Failed || len(got.Text) > 1000 {
			t.Errorf("answered with %d bytes, %v", len(got.Text), got.Failed)
		}
	}
	if got := client.Call("large", nil); !got.Failed || !strings.Contains(got.Text, "Ask for less") {
		t.Errorf("large: %d bytes", len(got.Text))
	}
	if got := client.Call("allowed", nil); got.Failed || len(got.Text) != 600<<10 {
		t.Errorf("allowed: %d bytes", len(got.Text))
	}
}

// TestEveryKindOfContentIsBounded: what is not text counts as Base64, as it is sent, and
// what is just as large as allowed passes.
func TestEveryKindOfContentIsBounded(t *testing.T) {
	const limit = 4000
	data := make([]byte, limit/4*3)
	text := strings.Repeat("x", limit)
	for name, content := range map[string]func(more int) mcp.Content{
		"text": func(more int) mcp.Content { return &mcp.TextContent{Text: text + strings.Repeat("x", more)} },
		"image": func(more int) mcp.Content {
			return &mcp.ImageContent{MIMEType: "image/png", Data: append(data, make([]byte, 3*more)...)}
		},
		"audio": func(more int) mcp.Content {
			return &mcp.AudioContent{MIMEType: "audio/wav", Data: append(data, make([]byte, 3*more)...)}
		},
		"resource": func(more int) mcp.Content {
			return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "demo://x", Text: text + strings.Repeat("x", more)}}
		},
		"bytes of a resource": func(more int) mcp.Content {
			return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "demo://x", Blob: append(data, make([]byte, 3*more)...)}}
		},
	} {
		for more, fits := range map[int]bool{0: true, 1: false} {
			client := toolkittest.SignIn(t, toolkit.Catalogue{
				Tools: []toolkit.Tool{toolkit.Define("large", "Large.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.CallToolResult, error) {
					return &mcp.CallToolResult{Content: []mcp.Content{content(more)}}, nil
				}, toolkit.MaxResult(limit))},
				Prompts: []toolkit.Prompt{toolkit.DefinePrompt("large", "Large.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.GetPromptResult, error) {
					return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: content(more)}}}, nil
				}, toolkit.MaxResult(limit))},
				Resources: []toolkit.Resource{toolkit.DefineResource("large", "demo://large", "Large.", func(context.Context, *toolkit.Caller) (*mcp.ReadResourceResult, error) {
					c := &mcp.ResourceContents{URI: "demo://large"}
					switch from := content(more).(type) {
					case *mcp.TextContent:
						c.Text = from.Text
					case *mcp.EmbeddedResource:
						c.Text, c.Blob = from.Resource.Text, from.Resource.Blob
					}
					return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{c}}, nil
				}, toolkit.MaxResult(limit))},
			}, toolkittest.User{})
			if got := client.Call("large", nil); got.Failed == fits || !fits && !strings.Contains(got.Text, "Ask for less") {
				t.Errorf("%s, %d more: the tool answers %q", name, more, got.Text[:min(len(got.Text), 100)])
			}
			if _, err := client.Client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "large"}); (err == nil) != fits {
				t.Errorf("%s, %d more: the prompt answers %v", name, more, err)
			}
			if name == "image" || name == "audio" {
				continue // no content of a resource
			}
			if _, err := client.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://large"}); (err == nil) != fits {
				t.Errorf("%s, %d more: the resource answers %v", name, more, err)
			}
		}
	}
}

// TestADeadlineEndsACall with words that say so.
func TestADeadlineEndsACall(t *testing.T) {
	wait := func(ctx context.Context, _ *toolkit.Caller, _ struct{}) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}
	c := offering(toolkit.Define("wait", "Wait.", wait), toolkit.Define("short", "Wait.", wait, toolkit.Deadline(10*time.Millisecond)))
	client := toolkittest.SignIn(t, c, toolkittest.User{}, toolkittest.ServerOptions(func(o *toolkit.Options) { o.Deadline = 30 * time.Millisecond }))
	for tool, want := range map[string]string{"wait": "longer than 30ms", "short": "longer than 10ms"} {
		if got := client.Call(tool, nil); !got.Failed || !strings.Contains(got.Text, want) {
			t.Errorf("%s: %q", tool, got.Text)
		}
	}
}

// TestPanicsOutsideOfToolsStayInTheirRequest: in a resource that was added to the SDK's
// server by hand, too.
func TestPanicsOutsideOfToolsStayInTheirRequest(t *testing.T) {
	var lines logtest.Log
	client := toolkittest.SignIn(t, everything(), toolkittest.User{}, toolkittest.ServerOptions(func(o *toolkit.Options) {
		o.Log = lines.Text()
		o.Configure = func(s *mcp.ServerOptions) {
			s.CompletionHandler = func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) { panic("kaboom") }
		}
	}))
	_, err := client.Client.Complete(t.Context(), &mcp.CompleteParams{
		Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "hail"}, Argument: mcp.CompleteParamsArgument{Name: "name"},
	})
	if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != jsonrpc.CodeInternalError || !strings.Contains(protocol.Message, "failed unexpectedly") {
		t.Errorf("got %v", err)
	}
	if log := lines.String(); !strings.Contains(log, "kaboom") || !strings.Contains(log, "call_test.go") {
		t.Errorf("no stack in the log: %s", log)
	}
	if got := client.Call("greet", nil); got.Failed {
		t.Error("the server did not survive")
	}
}

// TestNothingIsAdvertisedThatIsNotThere: a server with tools only has no prompts, no
// resources, no logging, and says so in JSON-RPC's terms.
func TestNothingIsAdvertisedThatIsNotThere(t *testing.T) {
	only := offering(toolkit.Define("greet", "Greet.", greet))
	for _, revision := range revisions {
		client := toolkittest.SignIn(t, only, toolkittest.User{}, toolkittest.Revision(revision)).Client
		if caps, _ := json.Marshal(client.InitializeResult().Capabilities); string(caps) != `{"tools":{}}` {
			t.Errorf("%s advertises %s", revision, caps)
		}
		_, prompts := client.ListPrompts(t.Context(), nil)
		_, resources := client.ListResources(t.Context(), nil)
		_, completed := client.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "x"}, Argument: mcp.CompleteParamsArgument{Name: "x"}})
		//lint:ignore SA1019 clients of earlier revisions send it
		level := client.SetLoggingLevel(t.Context(), &mcp.SetLoggingLevelParams{Level: "info"})
		if revision == "2026-07-28" {
			level = prompts // that revision has no such method
		}
		for what, err := range map[string]error{"prompts": prompts, "resources": resources, "completion": completed, "logging": level} {
			if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != jsonrpc.CodeMethodNotFound {
				t.Errorf("%s, %s: %v", revision, what, err)
			}
		}
	}
	all := toolkittest.SignIn(t, everything(), toolkittest.User{}).Client
	if caps, _ := json.Marshal(all.InitializeResult().Capabilities); string(caps) != `{"completions":{},"prompts":{},"resources":{},"tools":{}}` {
		t.Errorf("a server with everything advertises %s", caps)
	}
	earlier := toolkittest.SignIn(t, everything(), toolkittest.User{}, toolkittest.Revision("2025-11-25")).Client
	if err := earlier.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "demo://about"}); err == nil {
		t.Error("a subscription was taken")
	}
}

// TestResourcesAreNotKeptByClients unless their author says so: they may be private.
func TestResourcesAreNotKeptByClients(t *testing.T) {
	text := func(context.Context, *toolkit.Caller) (string, error) { return "x", nil }
	client := toolkittest.SignIn(t, toolkit.Catalogue{Resources: []toolkit.Resource{
		toolkit.DefineResource("fresh", "demo://fresh", "Fresh.", text),
		toolkit.DefineResource("kept", "demo://kept", "Kept.", text, toolkit.KeepFor(time.Minute)),
	}}, toolkittest.User{}).Client
	for uri, want := range map[string]int{"demo://fresh": 0, "demo://kept": 60_000} {
		read, err := client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err != nil || read.TTLMs != want || read.CacheScope != "private" {
			t.Errorf("%s: %+v, %v", uri, read, err)
		}
	}
}

// TestKindsOfContents: text, bytes and JSON, each with its type.
func TestKindsOfContents(t *testing.T) {
	client := toolkittest.SignIn(t, toolkit.Catalogue{Resources: []toolkit.Resource{
		toolkit.DefineResource("text", "demo://text", "T.", func(context.Context, *toolkit.Caller) (string, error) { return "t", nil }),
		toolkit.DefineResource("bytes", "demo://bytes", "B.", func(context.Context, *toolkit.Caller) ([]byte, error) { return []byte{1}, nil }, toolkit.MIMEType("image/png")),
		toolkit.DefineResource("octets", "demo://octets", "B.", func(context.Context, *toolkit.Caller) ([]byte, error) { return []byte{1}, nil }),
		toolkit.DefineResource("own", "demo://own", "O.", func(context.Context, *toolkit.Caller) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "demo://else", MIMEType: "text/html", Text: "<p>"}}}, nil
		}),
		toolkit.DefineResource("broken", "demo://broken", "B.", func(context.Context, *toolkit.Caller) (any, error) { return func() {}, nil }),
		toolkit.DefineResource("failing", "demo://failing", "F.", func(context.Context, *toolkit.Caller) (string, error) { return "x", errors.New("no such moon") }),
		toolkit.DefineResource("object", "demo://object", "O.", func(context.Context, *toolkit.Caller) (inner, error) { return inner{"n"}, nil }),
		toolkit.DefineTemplate("one", "demo://one/{name}", "One.", func(_ context.Context, _ *toolkit.Caller, in named) (string, error) {
			if in.Name != "here" {
				return "", toolkit.NotFound("demo://one/" + in.Name)
			}
			return "one", nil
		}),
		toolkit.DefineTemplate("held", "demo://held/{text}", "Held.", func(_ context.Context, _ *toolkit.Caller, in struct {
			Text string `json:"text" maxLength:"3"`
		}) (string, error) {
			return in.Text, nil
		}),
	}}, toolkittest.User{}).Client
	for uri, want := range map[string]string{
		"demo://held/abc": `[{"uri":"demo://held/abc","mimeType":"text/plain","text":"abc"}]`,
		"demo://text":     `[{"uri":"demo://text","mimeType":"text/plain","text":"t"}]`, "demo://bytes": `[{"uri":"demo://bytes","mimeType":"image/png","blob":"AQ=="}]`,
		"demo://octets": `[{"uri":"demo://octets","mimeType":"application/octet-stream","blob":"AQ=="}]`, "demo://own": `[{"uri":"demo://else","mimeType":"text/html","text":"<p>"}]`,
		"demo://object": `[{"uri":"demo://object","mimeType":"application/json","text":"{\"name\":\"n\"}"}]`, "demo://one/here": `[{"uri":"demo://one/here","mimeType":"text/plain","text":"one"}]`,
	} {
		read, err := client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if diff := cmp.Diff(decoded(t, want), decoded(t, read.Contents)); diff != "" {
			t.Errorf("%s: %s", uri, diff)
		}
	}
	for uri, want := range map[string]string{"demo://broken": "encode the resource", "demo://failing": "no such moon", "demo://held/abcd": "more than 3"} {
		read, err := client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", uri, read, err)
		}
	}
	_, err := client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://one/gone"})
	if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != mcp.CodeResourceNotFound {
		t.Errorf("what is not there: %v", err)
	}
}

// TestDefinitionsThatCannotWorkDoNotStart: resources and prompts as well.
func TestDefinitionsThatCannotWorkDoNotStart(t *testing.T) {
	text := func(context.Context, *toolkit.Caller) (string, error) { return "", nil }
	numbered := func(context.Context, *toolkit.Caller, struct{ N int }) (string, error) { return "", nil }
	serve := func(a toolkit.About) { toolkit.New(toolkit.Options{Catalogue: toolkit.Catalogue{About: a}}) }
	for want, define := range map[string]func(){
		"is not an absolute URI":                     func() { toolkit.DefineResource("x", "x", "x", text) },
		"must be a string":                           func() { toolkit.DefinePrompt("x", "x", numbered) },
		"N: it must be a string":                     func() { toolkit.DefineTemplate("x", "x://{N}", "x", numbered) },
		"is not in x://a":                            func() { toolkit.DefineTemplate("x", "x://a", "x", greet) },
		"and the arguments must have the same names": func() { toolkit.DefineTemplate("x", "x://{name}/{more}", "x", greet) },
		"incomplete":                                 func() { toolkit.DefineTemplate("x", "x://{", "x", greet) },
		`Complete names "other"`:                     func() { toolkit.DefinePrompt("x", "x", greet, toolkit.Complete("other", nil)) },
		"the rule ReadOnly does not apply to it":     func() { toolkit.DefinePrompt("x", "x", greet, toolkit.ReadOnly()) },
		"the rule Additive does not apply to it":     func() { toolkit.DefinePrompt("x", "x", greet, toolkit.Additive()) },
		"the rule Idempotent does not apply to it":   func() { toolkit.DefinePrompt("x", "x", greet, toolkit.Idempotent()) },
		"the rule ClosedWorld does not apply to it":  func() { toolkit.DefinePrompt("x", "x", greet, toolkit.ClosedWorld()) },
		"the rule Limit does not apply to it":        func() { toolkit.DefinePrompt("x", "x", greet, toolkit.Limit(toolkit.CallLimit{})) },
		"the rule MIMEType does not apply to it":     func() { toolkit.Define("x", "x", greet, toolkit.MIMEType("text/plain")) },
		"the rule Complete does not apply to it":     func() { toolkit.Define("x", "x", greet, toolkit.Complete("name", nil)) },
		"the rule KeepFor does not apply to it":      func() { toolkit.Define("x", "x", greet, toolkit.KeepFor(1)) },
		"is not an https origin":                     func() { toolkit.Define("x", "x", greet, toolkit.APIOrigin("api://x", "http://example.com")) },
		"Name \"A server\" must match":               func() { serve(toolkit.About{Name: "A server"}) },
		"Website \"x\" is not an https":              func() { serve(toolkit.About{Website: "x"}) },
		"Support \"x\" is neither":                   func() { serve(toolkit.About{Support: "x"}) },
		"icon is neither":                            func() { serve(toolkit.About{Icons: []toolkit.Icon{{Source: "http://example.com/x.png"}}}) },
		"Accent #aabbcc is too light for white text": func() { serve(toolkit.About{Accent: "#aabbcc"}) },
		"Accent \"blue\" is not a colour":            func() { serve(toolkit.About{Accent: "blue"}) },
	} {
		t.Run(want, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, want) {
					t.Errorf("said %q", got)
				}
			}()
			define()
		})
	}
	serve(toolkit.About{Name: "fine", Website: "https://example.com", Support: "help@example.com", Accent: "#005a9e"})
}

// TestScopesAndTheirWordsAreTheCatalogues: what clients may ask for, and what the consent
// page says of it. Scopes of other APIs are offered where tokens for them can be had.
func TestScopesAndTheirWordsAreTheCatalogues(t *testing.T) {
	c := everything().With(toolkit.Catalogue{
		Tools:     []toolkit.Tool{toolkit.Define("mail", "Mail.", greet, toolkit.RequireScopes("Mail.Send"), toolkit.CallAPI("Mail.Read"), toolkit.DescribeScope("Mail.Send", "Send mail"))},
		Prompts:   []toolkit.Prompt{toolkit.DefinePrompt("p", "P.", greet, toolkit.OptionalScopes("P.Use"), toolkit.RequireScopes("P.Get"))},
		Resources: []toolkit.Resource{toolkit.DefineTemplate("r", "demo://r/{name}", "R.", greet, toolkit.RequireScopes("R.Read"))},
	})
	for calls, want := range map[bool]string{false: "Mail.Send P.Get P.Use R.Read", true: "Mail.Read Mail.Send P.Get P.Use R.Read"} {
		if got := c.Scopes(calls).String(); got != want {
			t.Errorf("%v: %s, want %s", calls, got, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"Mail.Send": "Send mail"}, c.ScopeWords()); diff != "" {
		t.Error(diff)
	}
	s := toolkit.New(toolkit.Options{Catalogue: c})
	for use, want := range map[[2]string]string{
		{"tools/call", "mail"}: "Mail.Send", {"prompts/get", "p"}: "P.Get", {"resources/read", "demo://r/x"}: "R.Read",
		{"tools/call", "greet"}: "", {"tools/call", "p"}: "", {"tools/list", "mail"}: "", {"resources/read", "demo://x"}: "",
	} {
		if got := s.ScopesFor(use[0], use[1]).String(); got != want {
			t.Errorf("%v needs %q, want %q", use, got, want)
		}
	}
}

// TestProgressGoesForwardAndNotTooOften, and only to who asked for it.
func TestProgressGoesForwardAndNotTooOften(t *testing.T) {
	now := clocktest.At(time.Now())
	tool := toolkit.Define("work", "Work.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		for _, step := range []struct {
			wait time.Duration
			done float64
		}{{0, 1}, {10 * time.Millisecond, 2}, {time.Second, 3}, {time.Second, 2}, {time.Second, 3}, {250 * time.Millisecond, 4}, {0, 10}} {
			now.Advance(step.wait)
			if err := c.Progress(ctx, step.done, 10, "Working."); err != nil {
				return "", err
			}
		}
		return "done", nil
	})
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		seen := make(chan float64, 16)
		client := toolkittest.SignIn(t, offering(tool), toolkittest.User{}, toolkittest.At(now.Now), toolkittest.Revision(revision), toolkittest.ClientOptions(mcp.ClientOptions{
			ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
				seen <- r.Params.Progress
			},
		}))
		if got := client.Call("work", nil); got.Failed || len(seen) > 0 {
			t.Errorf("%s: nobody asked: %v, %q", revision, seen, got.Text)
		}
		params := &mcp.CallToolParams{Name: "work"}
		params.SetProgressToken("p")
		if _, err := client.Client.CallTool(t.Context(), params); err != nil {
			t.Error(err)
		}
		for _, want := range []float64{1, 3, 4, 10} {
			select { // the client hands them on beside the result
			case got := <-seen:
				if got != want {
					t.Errorf("%s: got %v, want %v", revision, got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: %v did not come", revision, want)
			}
		}
	}
}

// TestCompletionsAreBounded to what one answer may list, and say how many there are.
// Arguments with an enum need no function.
func TestCompletionsAreBounded(t *testing.T) {
	type colour struct {
		Colour string `json:"colour" enum:"red,green,grey"`
		Free   string `json:"free,omitempty"`
		Failed string `json:"failed,omitempty"`
	}
	many := func(n int) toolkit.Completer {
		return func(context.Context, *toolkit.Caller, string) ([]string, error) {
			values := make([]string, n)
			for i := range values {
				values[i] = strconv.Itoa(i)
			}
			return values, nil
		}
	}
	paint := func(context.Context, *toolkit.Caller, colour) (string, error) { return "", nil }
	prompt := func(n int) toolkit.Prompt {
		return toolkit.DefinePrompt("p"+strconv.Itoa(n), "P.", paint, toolkit.Complete("free", many(n)),
			toolkit.Complete("failed", func(context.Context, *toolkit.Caller, string) ([]string, error) {
				return nil, toolkit.Fail("Not now.", nil)
			}))
	}
	client := toolkittest.SignIn(t, toolkit.Catalogue{Prompts: []toolkit.Prompt{prompt(100), prompt(101)}}, toolkittest.User{}).Client
	complete := func(name, argument, typed string) (*mcp.CompleteResult, error) {
		return client.Complete(t.Context(), &mcp.CompleteParams{
			Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: name}, Argument: mcp.CompleteParamsArgument{Name: argument, Value: typed},
		})
	}
	for _, test := range []struct {
		name, argument, typed string
		shown, total          int
		first                 string
	}{
		{"p100", "free", "", 100, 100, "0"}, {"p101", "free", "", 100, 101, "0"},
		{"p100", "colour", "", 3, 3, "red"}, {"p100", "colour", "gr", 2, 2, "green"}, {"p100", "colour", "x", 0, 0, ""}, {"p100", "other", "", 0, 0, ""},
	} {
		got, err := complete(test.name, test.argument, test.typed)
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Completion; len(c.Values) != test.shown || c.Total != test.total || c.HasMore != (test.total > test.shown) || test.shown > 0 && c.Values[0] != test.first {
			t.Errorf("%+v: %d of %d, more: %v", test, len(c.Values), c.Total, c.HasMore)
		}
	}
	if _, err := complete("p100", "failed", ""); err == nil || !strings.Contains(err.Error(), "Not now.") {
		t.Errorf("a function that fails: %v", err)
	}
	_, err := complete("unknown", "free", "")
	if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != jsonrpc.CodeInvalidParams {
		t.Errorf("what does not exist: %v", err)
	}
}

// TestARefusalOfAHookNamesTheRequest, so that the operator finds it; what the caller
// can put right themselves needs no reference.
func TestARefusalOfAHookNamesTheRequest(t *testing.T) {
	var lines logtest.Log
	refuse := toolkit.Hook{Name: "policy", Before: func(_ context.Context, c *toolkit.Call) error {
		if c.Name == "stopped" {
			return toolkit.Fail("Not today.", errors.New("policy 7"))
		}
		return nil
	}}
	nothing := func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "", nil }
	s := toolkit.New(toolkit.Options{Log: lines.Text(), Catalogue: toolkit.Catalogue{Hooks: []toolkit.Hook{refuse}, Tools: []toolkit.Tool{
		toolkit.Define("stopped", "Stopped.", nothing), toolkit.Define("forbidden", "Forbidden.", nothing, toolkit.RequireRole("Admin")),
		toolkit.Define("crash", "Crash.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { panic("x") }),
	}}})
	correlated := observe.Correlate(slog.New(slog.DiscardHandler), observe.CorrelateOptions{}, admitted(s.Handler(), &grants.Access{Subject: "s", ClientID: "c"}))
	for tool, want := range map[string]string{"stopped": `Not today. Reference: `, "forbidden": `Users and groups. Sign in again afterwards."`, "crash": `This failed unexpectedly. Reference: `} {
		if got := answer(correlated, tool); !strings.Contains(got, want) || strings.Contains(got, "policy 7") {
			t.Errorf("%s: %s", tool, got)
		}
	}
	if log := lines.String(); !strings.Contains(log, "policy 7") || !strings.Contains(log, "reason=policy") {
		t.Errorf("the log says %s", log)
	}
}

// TestTheAuditSaysHowACallEnded: with a question, an error of the tool's own, or
// because the caller has gone.
func TestTheAuditSaysHowACallEnded(t *testing.T) {
	var lines logtest.Log
	started := make(chan struct{})
	c := everything()
	c.Tools = append(c.Tools,
		toolkit.Define("own_error", "Fail.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "no"}}}, nil
		}),
		toolkit.Define("question", "Ask.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			_, err := toolkit.Ask[struct{}](ctx, c, "Sure?")
			return "", err
		}),
		toolkit.Define("none", "Nothing.", func(context.Context, *toolkit.Caller, struct{}) (*mcp.CallToolResult, error) { return nil, nil }),
		toolkit.Define("wait", "Wait.", func(ctx context.Context, _ *toolkit.Caller, _ struct{}) (string, error) {
			close(started)
			<-ctx.Done()
			return "", ctx.Err()
		}),
	)
	sureOf := func(ctx context.Context, c *toolkit.Caller) (string, error) {
		_, err := toolkit.Ask[struct{}](ctx, c, "Sure?")
		return "", err
	}
	c.Prompts = append(c.Prompts, toolkit.DefinePrompt("asking", "Ask.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) { return sureOf(ctx, c) }))
	c.Resources = append(c.Resources, toolkit.DefineResource("asking", "demo://asking", "Ask.", sureOf))
	client := raw(t, c, toolkittest.User{}, toolkittest.ServerOptions(func(o *toolkit.Options) { o.Log = lines.Text() }))
	for _, tool := range []string{"own_error", "question", "none"} {
		if _, err := client.CallTool(t.Context(), &mcp.CallToolParams{Name: tool}); err != nil {
			t.Errorf("%s: %v", tool, err)
		}
	}
	for _, prompt := range []string{"hail", "asking"} {
		if _, err := client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: prompt}); err != nil {
			t.Error(err)
		}
	}
	if _, err := client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://asking"}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, _ = client.CallTool(ctx, &mcp.CallToolParams{Name: "wait"})
	wants := []string{"tool=own_error reason=error", `tool=question reason="input required"`, "tool=none reason=error", "tool=hail target=prompt",
		`tool=asking target=prompt reason="input required"`, `tool=asking target=resource reason="input required"`, "tool=wait reason=cancelled"}
	defer func() {
		if t.Failed() {
			t.Log(lines.String())
		}
	}()
	for _, want := range wants {
		clocktest.Eventually(t, "the log has "+want, 10*time.Second, func() bool {
			return strings.Contains(strings.ReplaceAll(lines.String(), "\n", " "), " "+want+" ")
		})
	}
}

// TestWhatIsDefinedIsPublished: icons, what extensions add, titles and arguments, of
// each kind.
func TestWhatIsDefinedIsPublished(t *testing.T) {
	icon := toolkit.Icon{Source: "https://example.com/x.png", MIMEType: "image/png", Sizes: []string{"48x48"}}
	rules := []toolkit.Rule{toolkit.Icons(icon), toolkit.Meta("example.com/a", 1), toolkit.Meta("example.com/b", "x"), toolkit.Title("A title")}
	text := func(context.Context, *toolkit.Caller) (string, error) { return "", nil }
	client := toolkittest.SignIn(t, toolkit.Catalogue{
		About:     toolkit.About{Name: "named", Title: "A server", Description: "For tests.", Website: "https://example.com/", Icons: []toolkit.Icon{icon}},
		Tools:     []toolkit.Tool{toolkit.Define("x", "A tool.", greet, rules...)},
		Resources: []toolkit.Resource{toolkit.DefineResource("x", "demo://x", "A resource.", text, rules...), toolkit.DefineTemplate("y", "demo://y/{name}", "A template.", greet, rules...)},
		Prompts:   []toolkit.Prompt{toolkit.DefinePrompt("x", "A prompt.", greet, rules...)},
	}, toolkittest.User{}).Client
	const common = `"icons":[{"mimeType":"image/png","sizes":["48x48"],"src":"https://example.com/x.png"}],"_meta":{"example.com/a":1,"example.com/b":"x"},"title":"A title"`
	published := func(what string, got any, err error, want string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		members, _ := decoded(t, got).(map[string]any)
		delete(members, "inputSchema")
		delete(members, "outputSchema")
		delete(members, "annotations")
		if diff := cmp.Diff(decoded(t, want), any(members)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	tools, err := client.ListTools(t.Context(), nil)
	published("tool", tools.Tools[0], err, `{"name":"x","description":"A tool.",`+common+`}`)
	resources, err := client.ListResources(t.Context(), nil)
	published("resource", resources.Resources[0], err, `{"name":"x","uri":"demo://x","description":"A resource.",`+common+`}`)
	templates, err := client.ListResourceTemplates(t.Context(), nil)
	published("template", templates.ResourceTemplates[0], err, `{"name":"y","uriTemplate":"demo://y/{name}","description":"A template.",`+common+`}`)
	prompts, err := client.ListPrompts(t.Context(), nil)
	published("prompt", prompts.Prompts[0], err, `{"name":"x","description":"A prompt.","arguments":[{"name":"name"}],`+common+`}`)
	info := *client.InitializeResult().ServerInfo
	info.Version = ""
	published("server", info, nil, `{"name":"named","title":"A server","description":"For tests.","version":"","websiteUrl":"https://example.com/","icons":[{"mimeType":"image/png","sizes":["48x48"],"src":"https://example.com/x.png"}]}`)
}

// TestToolsForEverybodyAreTold apart from those that need a scope or a role, and each
// caller is told of those that they may see.
func TestToolsForEverybodyAreTold(t *testing.T) {
	var told toolkit.Description
	c := offering(
		toolkit.Define("zeta", "Open.", func(_ context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			told = c.Server()
			return "", nil
		}),
		toolkit.Define("scoped", "Needs a scope.", greet, toolkit.RequireScopes("X.Read")),
		toolkit.Define("roled", "Needs a role.", greet, toolkit.RequireRole("Admin"), toolkit.HideUnlessAllowed()),
		toolkit.Define("alpha", "Open, too.", greet, toolkit.OptionalScopes("X.Read")),
	)
	c.Name = "named"
	open, others := c.OpenTools()
	if len(open) != 2 || open[0].Name != "alpha" || open[1].Name != "zeta" || open[0].Description != "Open, too." || !slices.Equal(others, []string{"scoped", "roled"}) {
		t.Errorf("open %v, others %q", open, others)
	}
	if diff := cmp.Diff([]toolkit.ToolDescription{{"alpha", "Alpha", "Open, too."}, {"zeta", "Zeta", "Open."}}, toolkit.New(toolkit.Options{Catalogue: c}).Open()); diff != "" {
		t.Error(diff)
	}
	for role, want := range map[string][]string{"Reader": {"alpha", "scoped", "zeta"}, "Admin": {"alpha", "roled", "scoped", "zeta"}} {
		client := toolkittest.SignIn(t, c, toolkittest.User{Roles: []string{role}}, toolkittest.ServerOptions(func(o *toolkit.Options) { o.Version, o.Authentication = "v7", "By hand" }))
		if got := client.Call("zeta", nil); got.Failed {
			t.Fatal(got.Text)
		}
		var names []string
		for _, tool := range told.Tools {
			names = append(names, tool.Name)
		}
		if !slices.Equal(names, want) || told.Name != "named" || told.Version != "v7" || told.Authentication != "By hand" {
			t.Errorf("%s is told of %+v", role, told)
		}
	}
}

// TestPromptsAreTextOrMessages: what the user says, messages of both, or a whole result.
func TestPromptsAreTextOrMessages(t *testing.T) {
	said := &mcp.PromptMessage{Role: "assistant", Content: &mcp.TextContent{Text: "said"}}
	client := toolkittest.SignIn(t, toolkit.Catalogue{Prompts: []toolkit.Prompt{
		toolkit.DefinePrompt("text", "T.", greet),
		toolkit.DefinePrompt("messages", "M.", func(context.Context, *toolkit.Caller, named) ([]*mcp.PromptMessage, error) {
			return []*mcp.PromptMessage{said}, nil
		}),
		toolkit.DefinePrompt("result", "R.", func(context.Context, *toolkit.Caller, named) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Description: "described", Messages: []*mcp.PromptMessage{said}}, nil
		}),
		toolkit.DefinePrompt("failing", "F.", func(context.Context, *toolkit.Caller, named) (string, error) { return "", errors.New("no such thing") }),
	}}, toolkittest.User{}).Client
	for name, want := range map[string]string{
		"text":     `{"messages":[{"role":"user","content":{"type":"text","text":"Hello, World!"}}]}`,
		"messages": `{"messages":[{"role":"assistant","content":{"type":"text","text":"said"}}]}`,
		"result":   `{"description":"described","messages":[{"role":"assistant","content":{"type":"text","text":"said"}}]}`,
	} {
		got, err := client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if got.Description != map[string]string{"result": "described"}[name] || len(got.Messages) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
		if diff := cmp.Diff(decoded(t, want).(map[string]any)["messages"], decoded(t, got.Messages)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, arguments := range map[string]map[string]string{"failing": nil, "text": {"other": "x"}} {
		_, err := client.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: name, Arguments: arguments})
		if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != jsonrpc.CodeInvalidRequest {
			t.Errorf("%s with %v: %v", name, arguments, err)
		}
	}
}
