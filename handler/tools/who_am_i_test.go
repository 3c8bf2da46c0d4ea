package tools

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/toolkit/toolkittest"
)

// ada has the scope that the profile needs.
var ada = toolkittest.User{TenantID: "tenant", ObjectID: "object", Roles: []string{"Reader"}, Scopes: []string{userRead}}

func TestWhoAmITellsTheIdentityOfTheGrant(t *testing.T) {
	got := toolkittest.SignIn(t, Catalogue(), ada).Call("who_am_i", nil).Structured
	want := map[string]any{
		"name": "Ada Lovelace", "username": "ada@contoso.com", "tenant_id": "tenant", "object_id": "object",
		"roles": []any{"Reader"}, "scopes": []any{userRead},
		"note": "This server is not set up to read Microsoft Graph.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhoAmIShowsTheGraphProfileWithUserRead(t *testing.T) {
	graph := toolkittest.Graph{"/v1.0/me": `{"displayName":"Ada Lovelace","jobTitle":"Analyst","businessPhones":["1"]}`}
	got, _ := toolkittest.SignIn(t, Catalogue(), ada, graph).Call("who_am_i", nil).Structured.(map[string]any)
	if diff := cmp.Diff(map[string]any{"displayName": "Ada Lovelace", "jobTitle": "Analyst"}, got["profile"]); diff != "" {
		t.Error(diff)
	}
	got, _ = toolkittest.SignIn(t, Catalogue(), toolkittest.User{}, graph).Call("who_am_i", nil).Structured.(map[string]any)
	if note, _ := got["note"].(string); got["profile"] != nil || !strings.Contains(note, userRead) {
		t.Errorf("without the scope: %v", got)
	}
}

// TestWhoAmIAnswersWithoutGraph: who is signed in is known without it, and the note
// says what can be done.
func TestWhoAmIAnswersWithoutGraph(t *testing.T) {
	forbidden := toolkittest.GraphHandler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	for name, test := range map[string]struct {
		option toolkittest.Option
		want   string
	}{
		"consent missing":  {toolkittest.ConsentMissing(userRead), toolkittest.ConsentURL},
		"Graph refuses":    {forbidden, "your account may not"},
		"Graph is silent":  {toolkittest.GraphHandler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }), "Try again"},
		"nobody in Graph":  {toolkittest.Graph{}, "no such thing"},
		"Graph is no JSON": {toolkittest.Graph{"/v1.0/me": "<html>"}, "Try again"},
	} {
		t.Run(name, func(t *testing.T) {
			got := toolkittest.SignIn(t, Catalogue(), ada, test.option).Call("who_am_i", nil)
			who, _ := got.Structured.(map[string]any)
			note, _ := who["note"].(string)
			if got.Failed || who["object_id"] != "object" || who["profile"] != nil || !strings.Contains(note, test.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestEndedSignInIsAToolError(t *testing.T) {
	got := toolkittest.SignIn(t, Catalogue(), ada, toolkittest.SignedOut()).Call("who_am_i", nil)
	if !got.Failed || got.Text != "The sign-in behind this token has ended. Sign in again." {
		t.Errorf("got %q", got.Text)
	}
}

func TestHelloWorldGreets(t *testing.T) {
	client := toolkittest.SignIn(t, Catalogue(), toolkittest.User{})
	for name, arguments := range map[string]any{"World": nil, "Ada": map[string]any{"name": "Ada"}, "": map[string]any{"name": ""}} {
		want := "Hello, " + name + "! You've successfully authenticated with Azure and accessed this MCP tool."
		if got := client.Call("hello_world", arguments); got.Failed || got.Text != want {
			t.Errorf("got %q, want %q", got.Text, want)
		}
	}
}

func TestServerInfoDescribesTheRunningServer(t *testing.T) {
	client := toolkittest.SignIn(t, Catalogue(), toolkittest.User{})
	got, _ := client.Call("server_info", nil).Structured.(map[string]any)
	if got["name"] != Catalogue().Name || got["version"] == "" || got["authentication"] == "" {
		t.Fatalf("got %v", got)
	}
	list, err := client.Client.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []any
	for _, tool := range list.Tools {
		want = append(want, map[string]any{"name": tool.Name, "description": tool.Description})
	}
	if diff := cmp.Diff(want, got["tools"]); diff != "" {
		t.Error(diff)
	}
}
