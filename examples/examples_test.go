package examples

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
	"entramcp/handler/tools"
)

func TestNotesAreSavedReadAndDeleted(t *testing.T) {
	table := toolkittest.Table(t)
	ada := toolkittest.SignIn(t, Notes(), toolkittest.User{}, toolkittest.On(table))
	for _, name := range []string{"shopping", "shops", "ideas"} {
		if got := ada.Call("save_note", map[string]any{"name": name, "text": "text of " + name}); got.Failed {
			t.Fatal(got.Text)
		}
	}
	if got := ada.Call("list_notes", nil); got.Text != `["ideas","shopping","shops"]` {
		t.Errorf("the list is %s", got.Text)
	}
	if got := ada.Read("notes://shops"); got != "text of shops" {
		t.Errorf("read %q", got)
	}
	if got := ada.Prompt("summarize_note", map[string]string{"name": "ideas"}); !strings.HasSuffix(got, "text of ideas") {
		t.Errorf("the prompt is %q", got)
	}
	for _, ref := range []*mcp.CompleteReference{{Type: "ref/resource", URI: "notes://{name}"}, {Type: "ref/prompt", Name: "summarize_note"}} {
		got, err := ada.Client.Complete(t.Context(), &mcp.CompleteParams{Ref: ref, Argument: mcp.CompleteParamsArgument{Name: "name", Value: "sho"}})
		if err != nil || !slices.Equal(got.Completion.Values, []string{"shopping", "shops"}) {
			t.Errorf("%v: %v, %v", ref, got, err)
		}
	}
	if got := ada.Call("delete_note", map[string]any{"name": "ideas"}); got.Failed {
		t.Error(got.Text)
	}
	if _, err := ada.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "notes://ideas"}); err == nil {
		t.Error("a deleted note is read")
	}
	if got := toolkittest.SignIn(t, Notes(), toolkittest.User{ObjectID: "bob"}, toolkittest.On(table)).Call("list_notes", nil); got.Text != "[]" {
		t.Errorf("another user sees %s", got.Text)
	}
}

// TestNotesAppNamesAPageThatShowsTheResult: the page itself runs in the client.
func TestNotesAppNamesAPageThatShowsTheResult(t *testing.T) {
	ada := toolkittest.SignIn(t, Notes().With(NotesApp()), toolkittest.User{})
	ada.Call("save_note", map[string]any{"name": "a", "text": "b"})
	if got, _ := json.Marshal(ada.Call("show_notes", nil).Structured); string(got) != `{"notes":[{"name":"a","text":"b"}]}` {
		t.Errorf("the result is %s", got)
	}
	list, err := ada.Client.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list.Tools, func(tool *mcp.Tool) bool { return tool.Name == "show_notes" })
	if ui, _ := list.Tools[i].Meta["ui"].(map[string]any); ui["resourceUri"] != notesView {
		t.Errorf("the tool names %v", list.Tools[i].Meta)
	}
	page, err := ada.Client.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: notesView})
	if err != nil || page.Contents[0].MIMEType != "text/html;profile=mcp-app" || !strings.Contains(page.Contents[0].Text, "ui/initialize") {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestMyManagerComesFromGraph(t *testing.T) {
	reader := toolkittest.User{Scopes: []string{userReadAll}}
	graph := toolkittest.Graph{"/v1.0/me/manager": `{"displayName":"Grace Hopper","jobTitle":"Rear admiral"}`}
	if got := toolkittest.SignIn(t, MyManager(), reader, graph).Call("my_manager", nil); got.Failed || !strings.Contains(got.Text, "Grace Hopper") {
		t.Error(got.Text)
	}
	for want, option := range map[string]toolkittest.Option{
		"names no manager": toolkittest.Graph{}, toolkittest.ConsentURL: toolkittest.ConsentMissing(userReadAll),
		"your account may not": toolkittest.GraphHandler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }),
	} {
		if got := toolkittest.SignIn(t, MyManager(), reader, option).Call("my_manager", nil); !got.Failed || !strings.Contains(got.Text, want) {
			t.Errorf("%s: %s", want, got.Text)
		}
	}
}

func TestCountdownReportsProgress(t *testing.T) {
	seen := make(chan float64, 8)
	client := toolkittest.SignIn(t, Countdown(), toolkittest.User{}, toolkittest.ClientOptions(mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
			seen <- r.Params.Progress
		},
	}))
	params := &mcp.CallToolParams{Name: "countdown", Arguments: map[string]any{"seconds": 2}}
	params.SetProgressToken("p")
	got, err := client.Client.CallTool(t.Context(), params)
	if err != nil || got.IsError {
		t.Errorf("%v, %v", got, err)
	}
	for _, want := range []float64{0, 1} {
		if got := <-seen; got != want {
			t.Errorf("progress %v, want %v", got, want)
		}
	}
}

func TestBookRoomAsksFirst(t *testing.T) {
	table := toolkittest.Table(t)
	answer := map[string]any{"room": "Birch", "people": 3}
	client := toolkittest.SignIn(t, BookRoom(), toolkittest.User{}, toolkittest.On(table), toolkittest.Answering(func(string, string) (string, map[string]any) { return "accept", answer }))
	day := map[string]any{"day": "2026-12-01"}
	if got := client.Call("book_room", day); got.Text != "Birch is yours on 2026-12-01, for 3." {
		t.Error(got.Text)
	}
	if got := client.Call("book_room", day); !got.Failed {
		t.Error("booked twice")
	}
	declines := toolkittest.SignIn(t, BookRoom(), toolkittest.User{}, toolkittest.Answering(func(string, string) (string, map[string]any) { return "decline", nil }))
	if got := declines.Call("book_room", day); !got.Failed {
		t.Error("booked although declined")
	}
}

func TestMaintenanceIsForAdministrators(t *testing.T) {
	until := map[string]any{"until": time.Now().Add(time.Hour)}
	if got := toolkittest.SignIn(t, Maintenance(), toolkittest.User{Roles: []string{"Mcp.Admin"}}).Call("announce_maintenance", until); got.Failed || !strings.Contains(got.Text, "as Ada Lovelace") {
		t.Error(got.Text)
	}
	other := toolkittest.SignIn(t, Maintenance(), toolkittest.User{})
	if list, err := other.Client.ListTools(t.Context(), nil); err != nil || len(list.Tools) != 0 {
		t.Errorf("others see %v, %v", list, err)
	}
	if got := other.Call("announce_maintenance", until); !got.Failed {
		t.Error("others announce")
	}
}

func TestSwatchHasAPictureBesideItsResult(t *testing.T) {
	got := toolkittest.SignIn(t, Swatch(), toolkittest.User{}).Call("swatch", map[string]any{"red": 255, "green": 255, "blue": 255})
	if picture, ok := got.Raw.Content[1].(*mcp.ImageContent); !ok || picture.MIMEType != "image/png" || got.Text != `{"luminance":1}` {
		t.Errorf("%+v", got)
	}
}

// TestEverySchemaIsPortable: those of the shipped catalogue and of the examples are inside
// of what OpenAI, Anthropic, Gemini and Copilot all take, have names, titles, descriptions
// and hints, and are small.
func TestEverySchemaIsPortable(t *testing.T) {
	admin := toolkittest.User{Roles: []string{"Mcp.Admin"}}
	list, err := toolkittest.SignIn(t, tools.Catalogue().With(All()...), admin).Client.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := json.Marshal(list); len(list.Tools) < 9 || len(list.Tools) > 40 || len(raw) > 100_000 {
		t.Errorf("%d tools, %d bytes", len(list.Tools), len(raw))
	}
	for _, tool := range list.Tools {
		if err := toolkit.Portable(tool.InputSchema); err != nil {
			t.Errorf("%s: %v", tool.Name, err)
		}
		output, _ := json.Marshal(tool.OutputSchema)
		if strings.Contains(string(output), `"null"`) || !strings.Contains(string(output), `"type":"object"`) {
			t.Errorf("%s: the output schema is %s", tool.Name, output)
		}
		a := tool.Annotations
		if tool.Title == "" || tool.Description == "" || a == nil || a.DestructiveHint == nil || a.OpenWorldHint == nil {
			t.Errorf("%s lacks a title, a description or hints", tool.Name)
		}
	}
}

// TestExamplesAreShort: people copy one file. Half of them have fewer than 40 lines, and
// each compiles without the others.
func TestExamplesAreShort(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	alone := checker(t)
	var lengths []int
	for _, file := range files {
		if file == "examples.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(text), "\n")
		t.Logf("%3d %s", n, file)
		lengths = append(lengths, n)
		if err := alone(file, string(text)); err != nil {
			t.Errorf("%s does not compile alone: %v", file, err)
		}
	}
	slices.Sort(lengths)
	if len(lengths) != len(All()) || lengths[len(lengths)/2] >= 40 {
		t.Errorf("%d files of %v lines for %d examples", len(lengths), lengths, len(All()))
	}
}

// checker checks the types of a file that is a package of its own.
func checker(t *testing.T) func(name, text string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, export, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = export
	}
	files := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	return func(name, text string) error {
		file, err := parser.ParseFile(files, name, text, 0)
		if err == nil {
			_, err = config.Check("examples", files, []*ast.File{file}, nil)
		}
		return err
	}
}
