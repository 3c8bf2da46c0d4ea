package examples

import (
	"context"

	"entramcp/handler/toolkit"
)

const notesView = "ui://notes/view.html"

// NotesApp shows the notes of Notes in the client (MCP Apps): the tool names a page, the
// client shows it in a frame and gives it the result. Clients without it show the text.
func NotesApp() toolkit.Catalogue {
	type entry struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	show := func(ctx context.Context, c *toolkit.Caller, _ struct{}) (map[string][]entry, error) {
		items, _, err := toolkit.DataOf[entry](c, "notes").List(ctx, "")
		notes := []entry{}
		for _, item := range items {
			notes = append(notes, item.Value)
		}
		return map[string][]entry{"notes": notes}, err
	}
	page := func(context.Context, *toolkit.Caller) (string, error) { return notesPage, nil }
	return toolkit.Catalogue{
		Tools: []toolkit.Tool{toolkit.Define("show_notes", "Show all notes.", show, toolkit.ReadOnly(), toolkit.ClosedWorld(),
			toolkit.Meta("ui", map[string]any{"resourceUri": notesView}), toolkit.Meta("ui/resourceUri", notesView))},
		Resources: []toolkit.Resource{toolkit.DefineResource("notes_view", notesView, "The page that shows notes.", page,
			toolkit.MIMEType("text/html;profile=mcp-app"))},
	}
}

const notesPage = `<!doctype html><title>Notes</title><dl></dl><script>
const send = message => parent.postMessage({jsonrpc: "2.0", ...message}, "*")
addEventListener("message", ({source, data}) => {
  if (source !== parent) return
  if (data.id === 1) send({method: "ui/notifications/initialized", params: {}})
  if (data.method !== "ui/notifications/tool-result") return
  document.querySelector("dl").replaceChildren(...data.params.structuredContent.notes.flatMap(({name, text}) =>
    [["dt", name], ["dd", text]].map(([tag, value]) => Object.assign(document.createElement(tag), {textContent: value}))))
})
send({id: 1, method: "ui/initialize", params: {protocolVersion: "2026-01-26", appInfo: {name: "notes", version: "1"}, appCapabilities: {}}})
</script>`
