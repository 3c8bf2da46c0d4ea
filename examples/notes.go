package examples

import (
	"context"
	"strings"

	"entramcp/handler/toolkit"
)

type note struct {
	Name string `json:"name" jsonschema:"What the note is called." maxLength:"60"`
	Text string `json:"text" maxLength:"4000"`
}

type noteName struct {
	Name string `json:"name" jsonschema:"What the note is called." maxLength:"60"`
}

// Notes are private to each user: saved, deleted and listed by tools, read as
// resources, and used by a prompt.
func Notes() toolkit.Catalogue {
	store := func(c *toolkit.Caller) toolkit.Data[note] { return toolkit.DataOf[note](c, "notes") }
	save := func(ctx context.Context, c *toolkit.Caller, in note) (string, error) {
		_, err := store(c).Put(ctx, in.Name, in, "")
		return "Saved.", err
	}
	remove := func(ctx context.Context, c *toolkit.Caller, in noteName) (string, error) {
		return "Deleted.", store(c).Delete(ctx, in.Name, "")
	}
	names := func(ctx context.Context, c *toolkit.Caller, typed string) (found []string, err error) {
		items, _, err := store(c).List(ctx, "")
		for _, item := range items {
			if strings.HasPrefix(item.Key, typed) {
				found = append(found, item.Key)
			}
		}
		return found, err
	}
	list := func(ctx context.Context, c *toolkit.Caller, _ struct{}) ([]string, error) { return names(ctx, c, "") }
	read := func(ctx context.Context, c *toolkit.Caller, in noteName) (string, error) {
		item, err := store(c).Get(ctx, in.Name)
		return item.Value.Text, err
	}
	summarize := func(ctx context.Context, c *toolkit.Caller, in noteName) (string, error) {
		text, err := read(ctx, c, in)
		return "Summarize this note in one sentence:\n\n" + text, err
	}
	return toolkit.Catalogue{
		Tools: []toolkit.Tool{
			toolkit.Define("save_note", "Save a note, or replace the one of that name.", save, toolkit.Idempotent(), toolkit.ClosedWorld()),
			toolkit.Define("delete_note", "Delete a note.", remove, toolkit.ClosedWorld()),
			toolkit.Define("list_notes", "List the names of all notes.", list, toolkit.ReadOnly(), toolkit.ClosedWorld()),
		},
		Resources: []toolkit.Resource{toolkit.DefineTemplate("note", "notes://{name}", "One note.", read, toolkit.Complete("name", names))},
		Prompts:   []toolkit.Prompt{toolkit.DefinePrompt("summarize_note", "Summarize a note.", summarize, toolkit.Complete("name", names))},
	}
}
