package mcphttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// The times of the tests: long enough for a machine that is busy.
const (
	soon    = 400 * time.Millisecond
	comment = 100 * time.Millisecond
)

// serve is the SDK's server with tools of every kind of answer.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "t", Version: "1"}, &mcp.ServerOptions{Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}})
	add := func(name string, run func(context.Context, *mcp.CallToolRequest)) {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(ctx context.Context, req *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
			run(ctx, req)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done " + name}}}, nil, nil
		})
	}
	notify := func(ctx context.Context, req *mcp.CallToolRequest) {
		_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: 1})
	}
	add("quick", func(context.Context, *mcp.CallToolRequest) {})
	add("slow", func(context.Context, *mcp.CallToolRequest) { time.Sleep(soon + 4*comment) })
	add("progress", notify)
	sdk := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true, MaxRequestBodyBytes: 1 << 20})
	s := httptest.NewServer(handler(sdk, soon, comment))
	t.Cleanup(s.Close)
	return s
}

func rpc(method, params string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":` + params + `}`
}

func call(tool string) string {
	return rpc("tools/call", `{"name":"`+tool+`","arguments":{},"_meta":{"progressToken":1}}`)
}

func result(tool string) string {
	return `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"done ` + tool + `"}]}}`
}

const progress = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`

func event(data string) string { return "event: message\ndata: " + data + "\n\n" }

type reply struct {
	Status      int
	ContentType string
	Body        string
}

func ask(t *testing.T, s *httptest.Server, accept, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("Content-Type") == "application/json" && res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", res.Header.Get("Cache-Control"))
	}
	if res.Header.Get("Content-Type") == "text/event-stream" && res.Header.Get("Cache-Control") != "no-store, no-transform" {
		t.Errorf("Cache-Control %q", res.Header.Get("Cache-Control"))
	}
	return reply{res.StatusCode, res.Header.Get("Content-Type"), string(text)}
}

func TestClientsGetWhatTheyTake(t *testing.T) {
	s := serve(t)
	const both, jsonOnly, streamOnly = "application/json, text/event-stream", "application/json", "text/event-stream"
	asJSON := func(body string) reply { return reply{200, "application/json", body} }
	asStream := func(body string) reply { return reply{200, "text/event-stream", body} }
	for name, tt := range map[string]struct {
		accept, body string
		want         reply
	}{
		"both":                        {both, call("quick"), asJSON(result("quick"))},
		"no Accept":                   {"", call("quick"), asJSON(result("quick"))},
		"anything":                    {"*/*", call("quick"), asJSON(result("quick"))},
		"JSON only":                   {jsonOnly, call("quick"), asJSON(result("quick"))},
		"stream only":                 {streamOnly, call("quick"), asStream(event(result("quick")))},
		"stream rather than JSON":     {"application/json;q=0.5, text/event-stream", call("quick"), asStream(event(result("quick")))},
		"JSON refused":                {"*/*, application/json;q=0", call("quick"), asStream(event(result("quick")))},
		"both, progress first":        {both, call("progress"), asStream(event(progress) + event(result("progress")))},
		"JSON only, progress first":   {jsonOnly, call("progress"), asJSON(result("progress"))},
		"JSON only, slow":             {jsonOnly, call("slow"), asJSON(result("slow"))},
		"batch":                       {both, "[" + call("quick") + "," + strings.Replace(call("progress"), `"id":7`, `"id":8`, 1) + "]", reply{}},
		"batch of one":                {jsonOnly, "[" + call("quick") + "]", asJSON("[" + result("quick") + "]")},
		"unknown method":              {both, rpc("no/such", "{}"), asJSON(`{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"Method not found."}}` + "\n")},
		"unknown method, stream only": {streamOnly, rpc("no/such", "{}"), asJSON(`{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"Method not found."}}` + "\n")},
		"a call that is not valid":    {both, `{"jsonrpc":"2.0","id":7,"method":"tools/call"}`, reply{400, "application/json", ""}},
		"HTML only":                   {"text/html", call("quick"), reply{406, "application/json", ""}},
		"a notification":              {both, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, reply{202, "", ""}},
		"an unknown notification":     {both, `{"jsonrpc":"2.0","method":"notifications/no-such"}`, reply{400, "application/json", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, s, tt.accept, tt.body)
			switch {
			case name == "batch":
				if got.Status != 200 || strings.Count(got.Body, `"result"`) != 2 {
					t.Errorf("got %+v", got)
				}
				return
			case got.Status >= 400:
				if !strings.HasPrefix(got.Body, `{"jsonrpc":"2.0","id":`) || !strings.Contains(got.Body, `"code":-32600`) {
					t.Errorf("not a JSON-RPC error: %s", got.Body)
				}
				got.Body = ""
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestALongCallIsAStreamThatLives: whoever waits sees the answer begin, and a
// comment now and then.
func TestALongCallIsAStreamThatLives(t *testing.T) {
	got := ask(t, serve(t), "application/json, text/event-stream", call("slow"))
	if got.Status != 200 || got.ContentType != "text/event-stream" || !strings.HasSuffix(strings.TrimSuffix(got.Body, ": \n\n"), event(result("slow"))) {
		t.Fatalf("got %+v", got)
	}
	if comments := strings.Count(got.Body, ": \n\n"); comments < 2 || comments > 6 {
		t.Errorf("%d comments in %q", comments, got.Body)
	}
}

// TestABodyThatTricklesOpensNoStream: nothing is promised before the request has
// been read.
func TestABodyThatTricklesOpensNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			http.Error(w, "no", http.StatusBadRequest)
		}), 20*time.Millisecond, comment)
		body, send := io.Pipe()
		go func() {
			time.Sleep(200 * time.Millisecond)
			_ = send.Close()
		}()
		begin, w := time.Now(), httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/mcp", body))
		if took := time.Since(begin); w.Code != http.StatusBadRequest || took < 200*time.Millisecond {
			t.Errorf("got %d after %s: %s", w.Code, took, w.Body)
		}
	})
}

// TestTheConnectionIsTheServersAffair: the SDK's keep-alive would take back the
// close of a server that is stopping.
func TestTheConnectionIsTheServersAffair(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Connection", "close")
	Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "keep-alive")
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte(event(result("x"))))
	})).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/mcp", nil))
	if got := w.Header().Get("Connection"); got != "close" || w.Body.String() != result("x") {
		t.Errorf("Connection: %s, %s", got, w.Body)
	}
}

func TestAccept(t *testing.T) {
	for line, want := range map[string]accepted{
		"application/json":      {json: true},
		"text/event-stream":     {stream: true, preferStream: true},
		"*/*":                   {json: true, stream: true},
		"application/*, text/*": {json: true, stream: true},
		"text/event-stream;q=0.9, application/json":      {json: true, stream: true},
		"text/event-stream, application/json; q=0.1":     {json: true, stream: true, preferStream: true},
		"APPLICATION/JSON; charset=utf-8":                {json: true},
		"application/json;q=nonsense, text/event-stream": {stream: true, preferStream: true},
		"text/html": {},
		"":          {},
	} {
		if got := parseAccept([]string{line}); got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
	if got := parseAccept(nil); got != (accepted{json: true, stream: true}) {
		t.Errorf("no Accept: %+v", got)
	}
}

// TestAValueTakesItsPlaceOnce: a mark that comes again is text like any other, and
// the values of a batch do not mix.
func TestAValueTakesItsPlaceOnce(t *testing.T) {
	a := &answer{}
	p := Place{a}
	one, two := p.Put([]byte(`{"n":1}`)), p.Put([]byte(`{"n":2}`))
	put := func(data []byte) string { return string(bytes.Join(a.pieces(data), nil)) }
	for _, step := range []struct{ data, want string }{
		{`{"result":` + string(two) + `}`, `{"result":{"n":2}}`},
		{`{"method":"x"}`, `{"method":"x"}`},
		{`{"result":` + string(one) + `}`, `{"result":{"n":1}}`},
		{string(one), string(one)},
	} {
		if got := put([]byte(step.data)); got != step.want {
			t.Errorf("%s: %s, want %s", step.data, got, step.want)
		}
	}
}

// TestAPlacedValueStaysInItsLine: JSON may have line breaks between its parts, and a
// line break ends the line of an event.
func TestAPlacedValueStaysInItsLine(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		place, ok := PlaceIn(r.Context())
		if !ok {
			t.Error("no place")
		}
		mark := place.Put([]byte("{\r\n \"a\": [\n\n1,\r2\n]}"))
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(slices.Concat([]byte("event: message\ndata: "), []byte(`{"jsonrpc":"2.0","id":1,"result":`), mark, []byte("}\n\n")))
	})
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	r.Header.Set("Accept", "text/event-stream")
	w := httptest.NewRecorder()
	Handler(next).ServeHTTP(w, r)
	if got, want := w.Body.String(), "event: message\ndata: "+`{"jsonrpc":"2.0","id":1,"result":{"a":[1,2]}}`+"\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
