package toolkit

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestDefaultsFillWhatIsLeftOut(t *testing.T) {
	type input struct {
		Text  string   `json:"text" jsonschema:"Any text." default:"a \"b\""`
		Count int      `json:"count" default:"3"`
		Ratio float64  `json:"ratio,omitempty" default:"0.5"`
		On    bool     `json:"on" default:"true"`
		Tags  []string `json:"tags,omitempty" default:"[\"x\"]"`
	}
	s := New(Options{Catalogue: offer(Define("show", "Show.", func(_ context.Context, _ *Caller, in input) (input, error) { return in, nil }))})
	got := call(t, connect(t, serve(t, s, access()), "2026-07-28", nil), "show", map[string]any{"count": 4}).StructuredContent
	want := map[string]any{"text": `a "b"`, "count": 4.0, "ratio": 0.5, "on": true, "tags": []any{"x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
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

func TestToolsThatCannotWorkDoNotStart(t *testing.T) {
	for name, define := range map[string]func(){
		"no struct": func() {
			Define("x", "", func(context.Context, *Caller, string) (string, error) { return "", nil })
		},
		"default of another type": func() {
			type input struct {
				N int `json:"n" default:"many"`
			}
			Define("x", "", func(context.Context, *Caller, input) (string, error) { return "", nil })
		},
		"default of no argument": func() {
			type input struct {
				N int `json:"-" default:"1"`
			}
			Define("x", "", func(context.Context, *Caller, input) (string, error) { return "", nil })
		},
		"result without a schema": func() {
			Define("x", "", func(context.Context, *Caller, struct{}) (chan int, error) { return nil, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("was taken")
				}
			}()
			define()
		})
	}
}
