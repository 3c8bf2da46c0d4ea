package toolkit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/clocktest"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

type sure struct {
	Reason string `json:"reason" jsonschema:"Why." maxLength:"10" pattern:"^[^0-9]*$"`
	Really bool   `json:"really,omitempty"`
}

type target struct {
	ID string `json:"id,omitempty"`
}

// asking is a tool that asks twice before it acts, and counts how often it acted.
func asking(acted *atomic.Int32) toolkit.Tool {
	return toolkit.Define("ask", "Ask.", func(ctx context.Context, c *toolkit.Caller, in target) (string, error) {
		first, err := toolkit.Ask[sure](ctx, c, "Why?")
		if err != nil {
			return "", err
		}
		if _, err := toolkit.Ask[struct{}](ctx, c, "Delete it because of "+first.Reason+"?"); err != nil {
			return "", err
		}
		acted.Add(1)
		return "deleted " + in.ID + " because of " + first.Reason, nil
	})
}

// TestQuestionsAreAnsweredByTheUser: two in one call, each with what was said before.
func TestQuestionsAreAnsweredByTheUser(t *testing.T) {
	var acted atomic.Int32
	var asked []string
	answer := func(message, _ string) (string, map[string]any) {
		asked = append(asked, message)
		return "accept", map[string]any{"reason": "age", "really": true}
	}
	client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.Answering(func(message, url string) (string, map[string]any) {
		action, content := answer(message, url)
		if strings.HasPrefix(message, "Delete") {
			content = map[string]any{}
		}
		return action, content
	}))
	if got := client.Call("ask", map[string]any{"id": "7"}); got.Failed || got.Text != "deleted 7 because of age" || acted.Load() != 1 {
		t.Errorf("%q, acted %d times", got.Text, acted.Load())
	}
	if diff := cmp.Diff([]string{"Why?", "Delete it because of age?"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestDecliningIsAnAnswer(t *testing.T) {
	for _, action := range []string{"decline", "cancel"} {
		var acted atomic.Int32
		client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) { return action, nil }))
		if got := client.Call("ask", nil); !got.Failed || !strings.Contains(got.Text, "declined") || acted.Load() != 0 {
			t.Errorf("%s: %q, acted %d times", action, got.Text, acted.Load())
		}
	}
}

// TestWhoCannotBeAsked: a client of 2026-07-28 without the capability is owed an error code
// of its own; users of earlier clients read the question.
func TestWhoCannotBeAsked(t *testing.T) {
	var acted atomic.Int32
	_, err := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}).Client.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask"})
	if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != mcp.CodeMissingRequiredClientCapabilities || !strings.Contains(string(protocol.Data), "elicitation") {
		t.Errorf("without the capability: %v", err)
	}
	for _, revision := range []string{"2025-06-18", "2025-11-25"} {
		client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.Revision(revision),
			toolkittest.Answering(func(string, string) (string, map[string]any) { return "accept", nil }))
		if got := client.Call("ask", nil); !got.Failed || !strings.Contains(got.Text, "Why?") || !strings.Contains(got.Text, "2026-07-28") {
			t.Errorf("%s: %q", revision, got.Text)
		}
	}
	if acted.Load() != 0 {
		t.Error("it acted without an answer")
	}
}

// raw is a client that handles rounds itself, as an attacker does.
func raw(t *testing.T, c toolkit.Catalogue, user toolkittest.User, options ...toolkittest.Option) *mcp.ClientSession {
	return toolkittest.SignIn(t, c, user, append([]toolkittest.Option{toolkittest.ClientOptions(mcp.ClientOptions{
		Capabilities:   &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}}},
		MultiRoundTrip: &mcp.MultiRoundTripOptions{Disabled: true},
	})}, options...)...).Client
}

// TestTheStateOfAQuestionIsForOneCall: of the same sign-in, tool and arguments, unchanged,
// within ten minutes, once among all instances.
func TestTheStateOfAQuestionIsForOneCall(t *testing.T) {
	var acted atomic.Int32
	confirmed := func(ctx context.Context, c *toolkit.Caller, _ target) (string, error) {
		if _, err := toolkit.Ask[struct{}](ctx, c, "Sure?"); err != nil {
			return "", err
		}
		acted.Add(1)
		return "done", nil
	}
	one, two := toolkit.Define("one", "Ask.", confirmed), toolkit.Define("two", "Ask.", confirmed)
	table := toolkittest.Table(t)
	now := clocktest.At(time.Now())
	same := []toolkittest.Option{toolkittest.On(table), toolkittest.At(now.Now)}
	client := raw(t, offering(one, two), toolkittest.User{}, same...)
	asked, err := client.CallTool(t.Context(), &mcp.CallToolParams{Name: "one", Arguments: map[string]any{"id": "7"}})
	if err != nil || !asked.NeedsInput() || asked.RequestState == "" || len(asked.Content) != 0 {
		t.Fatalf("%+v, %v", asked, err)
	}
	if len(asked.RequestState) > 4096 || strings.Contains(asked.RequestState, "Sure") {
		t.Errorf("the state is %q", asked.RequestState)
	}
	var key string
	for key = range asked.InputRequests {
	}
	accept := mcp.InputResponseMap{key: &mcp.ElicitResult{Action: "accept"}}
	again := func(c *mcp.ClientSession, tool, id, state string) (*mcp.CallToolResult, error) {
		return c.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{"id": id}, InputResponses: accept, RequestState: state})
	}
	for name, attempt := range map[string]func() (*mcp.CallToolResult, error){
		"another user": func() (*mcp.CallToolResult, error) {
			return again(raw(t, offering(one, two), bob, same...), "one", "7", asked.RequestState)
		},
		"another client": func() (*mcp.CallToolResult, error) {
			return again(raw(t, offering(one, two), toolkittest.User{ClientID: "x"}, same...), "one", "7", asked.RequestState)
		},
		"another tool":    func() (*mcp.CallToolResult, error) { return again(client, "two", "7", asked.RequestState) },
		"other arguments": func() (*mcp.CallToolResult, error) { return again(client, "one", "8", asked.RequestState) },
		"changed": func() (*mcp.CallToolResult, error) {
			middle := len(asked.RequestState) / 2 // the last character may stand for fewer bits
			other := map[bool]string{true: "B", false: "A"}[asked.RequestState[middle] == 'A']
			return again(client, "one", "7", asked.RequestState[:middle]+other+asked.RequestState[middle+1:])
		},
		"made up": func() (*mcp.CallToolResult, error) { return again(client, "one", "7", "state") },
	} {
		_, err := attempt()
		if protocol := new(jsonrpc.Error); !errors.As(err, &protocol) || protocol.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := again(client, "one", "7", ""); err != nil || !got.NeedsInput() {
		t.Errorf("an answer without a state counts: %+v, %v", got, err)
	}
	if acted.Load() != 0 {
		t.Fatalf("acted %d times", acted.Load())
	}
	// Two instances, one state: the second use is refused.
	if got, err := again(client, "one", "7", asked.RequestState); err != nil || got.IsError || acted.Load() != 1 {
		t.Errorf("%+v, %v, acted %d times", got, err, acted.Load())
	}
	instance := raw(t, offering(one, two), toolkittest.User{}, same...)
	if got, err := again(instance, "one", "7", asked.RequestState); err != nil || !got.IsError || acted.Load() != 1 {
		t.Errorf("a second use: %+v, %v, acted %d times", got, err, acted.Load())
	}
	late, err := client.CallTool(t.Context(), &mcp.CallToolParams{Name: "one", Arguments: map[string]any{"id": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	now.Advance(10 * time.Minute)
	if _, err := again(client, "one", "7", late.RequestState); err == nil || acted.Load() != 1 {
		t.Errorf("an answer after ten minutes: %v, acted %d times", err, acted.Load())
	}
}

// TestAnAnswerThatCannotBeUsedDoesNothing: without storage it is not known whether it was
// used before.
func TestAnAnswerThatCannotBeUsedDoesNothing(t *testing.T) {
	var acted atomic.Int32
	table := toolkittest.Table(t)
	client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.On(table),
		toolkittest.Answering(func(string, string) (string, map[string]any) {
			_ = table.Close()
			return "accept", map[string]any{"reason": "age"}
		}))
	if got := client.Call("ask", nil); !got.Failed || !strings.Contains(got.Text, "cannot be used now") || acted.Load() != 0 {
		t.Errorf("%q, acted %d times", got.Text, acted.Load())
	}
}

// TestAQuestionIsNoResultForHooks: of a call that asks twice they see the one result, also
// those of a catalogue that was added to another.
func TestAQuestionIsNoResultForHooks(t *testing.T) {
	var acted, seen atomic.Int32
	count := toolkit.Hook{Name: "count", After: func(context.Context, *toolkit.Call, mcp.Result, error) error { seen.Add(1); return nil }}
	client := toolkittest.SignIn(t, offering(asking(&acted)).With(toolkit.Catalogue{Hooks: []toolkit.Hook{count}}), toolkittest.User{},
		toolkittest.Answering(func(message, _ string) (string, map[string]any) {
			if message == "Why?" {
				return "accept", map[string]any{"reason": "age"}
			}
			return "accept", map[string]any{}
		}))
	if got := client.Call("ask", nil); got.Failed || acted.Load() != 1 || seen.Load() != 1 {
		t.Errorf("%q, acted %d times, the hook saw %d results", got.Text, acted.Load(), seen.Load())
	}
}

// TestAnAnswerIsHeldToItsTags, whatever the client has let its user write.
func TestAnAnswerIsHeldToItsTags(t *testing.T) {
	for answer, want := range map[string]string{"old age": "because of old age", "100 years": "does not match"} {
		var acted atomic.Int32
		client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.Answering(func(message, _ string) (string, map[string]any) {
			if message == "Why?" {
				return "accept", map[string]any{"reason": answer}
			}
			return "accept", map[string]any{}
		}))
		if got := client.Call("ask", nil); !strings.Contains(got.Text, want) || got.Failed != (acted.Load() == 0) {
			t.Errorf("%s: %q, acted %d times", answer, got.Text, acted.Load())
		}
	}
}

// TestPromptsAskToo.
func TestPromptsAskToo(t *testing.T) {
	c := toolkit.Catalogue{Prompts: []toolkit.Prompt{toolkit.DefinePrompt("ask", "Ask.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		why, err := toolkit.Ask[sure](ctx, c, "Why?")
		return why.Reason, err
	})}}
	client := toolkittest.SignIn(t, c, toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) {
		return "accept", map[string]any{"reason": "age"}
	}))
	if got := client.Prompt("ask", nil); got != "age" {
		t.Errorf("got %q", got)
	}
}

// TestLinksAreOpenedByClientsThatCan; others read them.
func TestLinksAreOpenedByClientsThatCan(t *testing.T) {
	pay := toolkit.Define("pay", "Pay.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		return "paid", c.AskToOpen(ctx, "Pay here.", "https://pay.example/1")
	})
	var opened []string
	client := toolkittest.SignIn(t, offering(pay), toolkittest.User{}, toolkittest.Answering(func(message, url string) (string, map[string]any) {
		opened = append(opened, message+" "+url)
		return "accept", nil
	}))
	if got := client.Call("pay", nil); got.Failed || got.Text != "paid" || len(opened) != 1 || opened[0] != "Pay here. https://pay.example/1" {
		t.Errorf("%q, opened %q", got.Text, opened)
	}
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		if got := toolkittest.SignIn(t, offering(pay), toolkittest.User{}, toolkittest.Revision(revision)).Call("pay", nil); !got.Failed || got.Text != "Pay here. https://pay.example/1" {
			t.Errorf("%s: %q", revision, got.Text)
		}
	}
	// raw shows forms, and opens no links.
	got, err := raw(t, offering(pay), toolkittest.User{}).CallTool(t.Context(), &mcp.CallToolParams{Name: "pay"})
	if err != nil || !got.IsError || len(got.InputRequests) != 0 {
		t.Errorf("a client without links got %+v, %v", got, err)
	}
}

// TestAFailureWithoutALinkAsksNothing: there is nothing to open.
func TestAFailureWithoutALinkAsksNothing(t *testing.T) {
	mail := toolkit.Define("mail", "Mail.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		_, err := c.Token(ctx, "Mail.Read")
		return "mail", err
	}, toolkit.CallAPI("Mail.Read"))
	client := toolkittest.SignIn(t, offering(mail), toolkittest.User{Scopes: []string{"Mail.Read"}},
		toolkittest.ServerOptions(func(o *toolkit.Options) {
			o.API = without{&entra.Error{Kind: entra.ConsentNeeded, Summary: "This application may not read your mail.", NextStep: "Ask an administrator."}}
		}),
		toolkittest.Answering(func(message, url string) (string, map[string]any) {
			t.Errorf("asked %q, %q", message, url)
			return "accept", nil
		}))
	if got := client.Call("mail", nil); !got.Failed || got.Text != "This application may not read your mail. Ask an administrator." {
		t.Errorf("%q", got.Text)
	}
}

// consent is an API that gives no token before its user has consented.
type consent struct{ given *atomic.Bool }

func (c consent) Token(context.Context, grants.Grant, ...string) (entra.APIToken, error) {
	if !c.given.Load() {
		return entra.APIToken{}, fmt.Errorf("wrapped: %w", &entra.Error{
			Kind: entra.ConsentNeeded, ConsentURL: toolkittest.ConsentURL, Summary: "This application may not read your mail yet.", NextStep: "Consent.",
		})
	}
	return entra.APIToken{}, nil
}

func (consent) Refused(grants.Grant, entra.APIToken, ...string) {}

// TestMissingConsentIsALink that is opened by clients that can, once, and in the text of
// the error for others and for those who did not consent there.
func TestMissingConsentIsALink(t *testing.T) {
	mail := toolkit.Define("mail", "Mail.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		_, err := c.Token(ctx, "Mail.Read")
		return "mail", err
	}, toolkit.CallAPI("Mail.Read"))
	ada := toolkittest.User{Scopes: []string{"Mail.Read"}}
	for action, consents := range map[string]bool{"accept": true, "decline": false, "accept without consent": false} {
		given := new(atomic.Bool)
		opened := 0
		client := toolkittest.SignIn(t, offering(mail), ada, toolkittest.ServerOptions(func(o *toolkit.Options) { o.API = consent{given} }),
			toolkittest.Answering(func(message, url string) (string, map[string]any) {
				opened++
				if message != "This application may not read your mail yet. Consent." || url != toolkittest.ConsentURL {
					t.Errorf("asked %q, %q", message, url)
				}
				given.Store(consents)
				action, _, _ := strings.Cut(action, " ")
				return action, nil
			}))
		got := client.Call("mail", nil)
		if got.Failed == consents || opened != 1 || got.Failed && !strings.Contains(got.Text, toolkittest.ConsentURL) {
			t.Errorf("%s: %q, opened %d times", action, got.Text, opened)
		}
	}
	for _, revision := range []string{"2025-11-25", "2026-07-28"} {
		client := toolkittest.SignIn(t, offering(mail), ada, toolkittest.Revision(revision), toolkittest.ServerOptions(func(o *toolkit.Options) { o.API = consent{new(atomic.Bool)} }))
		if got := client.Call("mail", nil); !got.Failed || got.Text != "This application may not read your mail yet. Consent. "+toolkittest.ConsentURL {
			t.Errorf("%s: %q", revision, got.Text)
		}
	}
}

// TestResourcesAskToo.
func TestResourcesAskToo(t *testing.T) {
	c := toolkit.Catalogue{Resources: []toolkit.Resource{toolkit.DefineResource("ask", "demo://ask", "Ask.", func(ctx context.Context, c *toolkit.Caller) (string, error) {
		why, err := toolkit.Ask[sure](ctx, c, "Why?")
		return why.Reason, err
	})}}
	client := toolkittest.SignIn(t, c, toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) {
		return "accept", map[string]any{"reason": "age"}
	}))
	if got := client.Read("demo://ask"); got != "age" {
		t.Errorf("got %q", got)
	}
}

// TestAFormIsFlat, as clients can show it; and an answer that does not fit it is
// refused, whatever the client has checked.
func TestAFormIsFlat(t *testing.T) {
	type nested struct {
		Inner inner `json:"inner"`
	}
	type listed struct {
		Names []string `json:"names"`
	}
	type choice struct {
		Names []string `json:"names" enum:"a,b"`
	}
	ask := func(f func(context.Context, *toolkit.Caller) error) toolkittest.Result {
		tool := toolkit.Define("ask", "Ask.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) { return "asked", f(ctx, c) })
		return toolkittest.SignIn(t, offering(tool), toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) {
			return "accept", map[string]any{"names": []any{"a"}}
		})).Call("ask", nil)
	}
	for name, test := range map[string]struct {
		ask  func(context.Context, *toolkit.Caller) error
		want string
	}{
		"an object": {func(ctx context.Context, c *toolkit.Caller) error {
			_, err := toolkit.Ask[nested](ctx, c, "?")
			return err
		}, "failed unexpectedly"},
		"a list": {func(ctx context.Context, c *toolkit.Caller) error {
			_, err := toolkit.Ask[listed](ctx, c, "?")
			return err
		}, "failed unexpectedly"},
		"no struct": {func(ctx context.Context, c *toolkit.Caller) error {
			_, err := toolkit.Ask[string](ctx, c, "?")
			return err
		}, "failed unexpectedly"},
		"a list of values": {func(ctx context.Context, c *toolkit.Caller) error {
			_, err := toolkit.Ask[choice](ctx, c, "?")
			return err
		}, ""},
	} {
		if got := ask(test.ask); got.Failed != (test.want != "") || !strings.Contains(got.Text, test.want) {
			t.Errorf("%s: %q", name, got.Text)
		}
	}
	client := raw(t, offering(asking(new(atomic.Int32))), toolkittest.User{})
	params := &mcp.CallToolParams{Name: "ask"}
	asked, err := client.CallTool(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	params.RequestState, params.InputResponses = asked.RequestState, mcp.InputResponseMap{"question-1": &mcp.ElicitResult{Action: "accept", Content: map[string]any{"reason": 7}}}
	got, err := client.CallTool(t.Context(), params)
	if err != nil || !got.IsError || !strings.Contains(got.Content[0].(*mcp.TextContent).Text, "does not fit the question") {
		t.Errorf("a number for a text: %+v, %v", got, err)
	}
}

// TestNobodyIsAskedWithoutAKey: what protects the state of a question fails, and the
// tool does nothing.
func TestNobodyIsAskedWithoutAKey(t *testing.T) {
	var acted atomic.Int32
	client := toolkittest.SignIn(t, offering(asking(&acted)), toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) { return "accept", nil }),
		toolkittest.ServerOptions(func(o *toolkit.Options) { o.Sealer = brokenSealer{} }))
	if got := client.Call("ask", nil); !got.Failed || !strings.Contains(got.Text, "cannot be asked now") || strings.Contains(got.Text, "cause") {
		t.Errorf("%q", got.Text)
	}
	got, err := client.Client.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask", RequestState: "state"})
	if err != nil || !got.IsError {
		t.Errorf("a state that cannot be opened now: %+v, %v", got, err)
	}
	if acted.Load() != 0 {
		t.Error("it acted")
	}
}

type brokenSealer struct{}

func (brokenSealer) Seal(context.Context, keyring.Purpose, []byte, []byte) (string, error) {
	return "", errors.New("a cause")
}

func (brokenSealer) Open(context.Context, keyring.Purpose, []byte, string) ([]byte, error) {
	return nil, errors.New("a cause")
}
