package toolkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
	"entramcp/handler/oauth"
)

func decoded(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

// TestResultsAreEncodedAsTheSDKDoes: whatever a tool or a hook puts into one.
func TestResultsAreEncodedAsTheSDKDoes(t *testing.T) {
	text := func(s string) mcp.Content { return &mcp.TextContent{Text: s} }
	failed := &mcp.CallToolResult{}
	failed.SetError(errors.New("no"))
	for name, r := range map[string]*mcp.CallToolResult{
		"text":              {Content: []mcp.Content{text("a \"b\" \\ <c> & \n\t\x00\u2028 \U0001F600 \xff \x7f")}},
		"texts":             {Content: []mcp.Content{text("a"), text("")}},
		"none":              {Content: []mcp.Content{}},
		"data":              {Content: []mcp.Content{text("{}")}, StructuredContent: json.RawMessage(`{"a":[1,null,"\ud800"],"a":2}`)},
		"data of a type":    {Content: []mcp.Content{text("{}")}, StructuredContent: map[string]any{"a": 1}},
		"error":             {Content: []mcp.Content{text("no")}, IsError: true},
		"an error set":      failed,
		"meta":              {Content: []mcp.Content{text("a")}, Meta: mcp.Meta{"content": []any{}, "x": standIn + "y"}, StructuredContent: json.RawMessage(`1`)},
		"of a content":      {Content: []mcp.Content{&mcp.TextContent{Text: "a", Meta: mcp.Meta{"a": 1}}}},
		"annotated":         {Content: []mcp.Content{&mcp.TextContent{Text: "a", Annotations: &mcp.Annotations{Audience: []mcp.Role{"user"}}}}},
		"image":             {Content: []mcp.Content{text("a"), &mcp.ImageContent{Data: []byte("x"), MIMEType: "image/png"}}},
		"more is asked for": {Content: []mcp.Content{}, RequestState: "s", InputRequests: mcp.InputRequestMap{"q": &mcp.ElicitParams{Message: "m"}}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := encodeCall(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, want), decoded(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, r := range map[string]*mcp.CallToolResult{
		"data":    {StructuredContent: json.RawMessage(`{"a":`)},
		"no data": {StructuredContent: func() {}},
		"meta":    {Meta: mcp.Meta{"a": func() {}}},
	} {
		if raw, err := encodeCall(r); err == nil {
			t.Errorf("%s that cannot be encoded is sent: %s", name, raw)
		}
	}
	for name, r := range map[string]*mcp.ListToolsResult{
		"a tool": {Tools: []*mcp.Tool{{InputSchema: func() {}}}},
		"meta":   {Meta: mcp.Meta{"a": func() {}}},
	} {
		if raw, err := (&placedTools{r, mcphttp.Place{}, new(encodedLists)}).MarshalJSON(); err == nil {
			t.Errorf("%s that cannot be encoded is sent: %s", name, raw)
		}
	}
}

// TestWhatGoesOutIsWhatTheMiddlewareLeaves: the same as the SDK alone would send,
// in every revision and form of answer.
func TestWhatGoesOutIsWhatTheMiddlewareLeaves(t *testing.T) {
	secret := Define("secret", "Hidden.", func(context.Context, *Caller, struct{}) (string, error) { return "", nil }, RequireScopes("Secret.Read"), HideUnlessAllowed())
	s := New(Options{Catalogue: Catalogue{Tools: []Tool{secret, Define("greet", "Greet.",
		func(_ context.Context, _ *Caller, in struct {
			Name string `json:"name"`
		}) (string, error) {
			return "Hello, " + in.Name + "!", nil
		})}}})
	asked := 0
	s.MCP().AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			result, err := next(ctx, method, req)
			switch r := result.(type) {
			case *mcp.CallToolResult:
				r.Content = append(r.Content, &mcp.TextContent{Text: "seen"})
				r.Meta = mcp.Meta{"hook": true}
			case *mcp.ListToolsResult:
				changed := *r.Tools[0]
				changed.Description = fmt.Sprint("asked ", asked)
				r.Tools[0] = &changed
			}
			return result, err
		}
	})
	admit := func(next http.Handler, who *grants.Access) http.Handler {
		return auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
			return &auth.TokenInfo{Extra: map[string]any{grants.AccessKey: who}}, nil
		}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(next)
	}
	inner := s.Handler()
	const both, stream = "application/json, text/event-stream", "application/json;q=0.5, text/event-stream"
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada <&>"}%s}}`
	const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{%s}}`
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	for name, tt := range map[string]struct{ revision, accept, method, body string }{
		"call":               {"2025-06-18", both, "tools/call", fmt.Sprintf(call, "")},
		"call as a stream":   {"2025-06-18", stream, "tools/call", fmt.Sprintf(call, "")},
		"call as JSON alone": {"2025-06-18", "application/json", "tools/call", fmt.Sprintf(call, "")},
		"newest call":        {"2026-07-28", both, "tools/call", fmt.Sprintf(call, ","+meta)},
		"list":               {"2025-06-18", both, "tools/list", fmt.Sprintf(list, "")},
		"list as a stream":   {"2025-06-18", stream, "tools/list", fmt.Sprintf(list, "")},
		"newest list":        {"2026-07-28", both, "tools/list", fmt.Sprintf(list, meta)},
		"batch":              {"2025-03-26", both, "tools/call", "[" + fmt.Sprintf(call, "") + "," + fmt.Sprintf(list, "") + "]"},
	} {
		for _, who := range []*grants.Access{{ClientID: "c"}, {ClientID: "c", Scopes: oauth.NewScopes("Secret.Read")}} {
			t.Run(name+" "+who.Scopes.String(), func(t *testing.T) {
				ask := func(h http.Handler, accept string) map[any]any {
					r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(tt.body))
					for name, value := range map[string]string{
						"Authorization": "Bearer t", "Content-Type": "application/json", "Accept": accept, "Mcp-Protocol-Version": tt.revision,
						"Mcp-Method": tt.method, "Mcp-Name": "greet",
					} {
						r.Header.Set(name, value)
					}
					w := httptest.NewRecorder()
					admit(h, who).ServeHTTP(w, r)
					return responses(t, w.Body.Bytes())
				}
				for asked = range 2 { // the second is kept
					got, want := ask(mcphttp.Handler(inner), tt.accept), ask(inner, both)
					if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
						t.Errorf("%d answers; %s", len(want), diff)
					}
				}
			})
		}
	}
}

// responses are those of a body, by their id.
func responses(t *testing.T, body []byte) map[any]any {
	t.Helper()
	found := map[any]any{}
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, each := range v {
				add(each)
			}
		case map[string]any:
			found[v["id"]] = v
		}
	}
	if bytes.HasPrefix(body, []byte("event: ")) {
		for line := range bytes.Lines(body) {
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				add(decoded(t, data))
			}
		}
	} else {
		add(decoded(t, body))
	}
	if bytes.Contains(body, []byte("placed ")) || bytes.Contains(body, []byte(standIn)) {
		t.Errorf("a mark goes out: %s", body)
	}
	return found
}

// TestListsAreKeptInBounds: who has many scopes and roles does not fill the memory, and
// what is asked for again is not encoded again.
func TestListsAreKeptInBounds(t *testing.T) {
	var lists encodedLists
	if raw, err := lists.of(nil); err != nil || string(raw) != "[]" {
		t.Errorf("no tools are %s, %v", raw, err)
	}
	for n := range 3 * keptLists {
		var before []byte
		tool := &mcp.Tool{Name: "t"}
		for again := range 2 {
			raw, err := lists.of([]*mcp.Tool{tool})
			if err != nil || !bytes.Contains(raw, []byte(`"name":"t"`)) {
				t.Fatal(string(raw), err)
			}
			if again > 0 && &raw[0] != &before[0] {
				t.Fatal("the same list is encoded again")
			}
			before = raw
		}
		if want := (n+1)%keptLists + 1; len(lists.kept) != want && n < keptLists-1 {
			t.Fatalf("%d lists are kept of %d", len(lists.kept), want)
		}
		if len(lists.kept) > keptLists {
			t.Fatalf("%d lists are kept", len(lists.kept))
		}
	}
}
