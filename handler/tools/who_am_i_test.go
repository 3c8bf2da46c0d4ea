package tools

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

const consentURL = "https://login.microsoftonline.com/organizations/v2.0/adminconsent?client_id=1"

var consentNeeded = &entra.Failure{
	Kind: entra.ConsentNeeded, ConsentURL: consentURL,
	Summary: "This application may not read your profile yet.", NextStep: "Ask an administrator to consent.",
}

// signIns knows one grant.
type signIns struct{}

func (signIns) Get(_ context.Context, subject grants.Subject, id string) (grants.Grant, error) {
	if subject != "5ab1ec7" || id != "grant-1" {
		return grants.Grant{}, oauth.New(oauth.InvalidToken, "The sign-in behind this token has ended. Sign in again.")
	}
	return grants.Grant{ID: id, Subject: subject, Identity: grants.Identity{
		TenantID: "tenant", ObjectID: "object", Name: "Ada Lovelace", Username: "ada@contoso.com", Roles: []string{"Reader"},
	}}, nil
}

// obo is an on-behalf-of flow that answers as told.
type obo func(scopes ...string) (APIToken, error)

func (f obo) Token(_ context.Context, _ grants.Grant, scopes ...string) (APIToken, error) {
	return f(scopes...)
}

func granted(...string) (APIToken, error) { return "graph-token", nil }

// graph stands for Microsoft Graph.
func graph(t *testing.T, answer http.HandlerFunc) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v1.0/me" || r.Header.Get("Authorization") != "Bearer graph-token" {
			t.Errorf("Graph got %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestWhoAmITellsTheIdentityOfTheGrant(t *testing.T) {
	s := New(Options{Grants: signIns{}})
	if len(s.Scopes()) != 0 {
		t.Errorf("offers %v that lead nowhere", s.Scopes())
	}
	for _, revision := range revisions {
		got := call(t, connect(t, serve(t, s, access("openid", "profile")), revision, nil), "who_am_i", nil).StructuredContent
		want := map[string]any{
			"name": "Ada Lovelace", "username": "ada@contoso.com", "tenant_id": "tenant", "object_id": "object",
			"roles": []any{"Reader"}, "scopes": []any{"openid", "profile"},
			"note": "This server is not set up to read Microsoft Graph.",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(revision, diff)
		}
	}
}

func TestWhoAmIShowsTheGraphProfileWithUserRead(t *testing.T) {
	var asked []string
	s := New(Options{
		Grants: signIns{},
		Graph: obo(func(scopes ...string) (APIToken, error) {
			asked = scopes
			return "graph-token", nil
		}),
		GraphURL: graph(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"displayName":"Ada Lovelace","jobTitle":"Analyst","businessPhones":["1"]}`))
		}),
	})
	if diff := cmp.Diff(oauth.Scopes{"User.Read"}, s.Scopes()); diff != "" {
		t.Error(diff)
	}
	without, _ := call(t, connect(t, serve(t, s, access()), "2026-07-28", nil), "who_am_i", nil).StructuredContent.(map[string]any)
	if note, _ := without["note"].(string); without["profile"] != nil || !strings.Contains(note, "User.Read") || asked != nil {
		t.Errorf("got %v", without)
	}
	with, _ := call(t, connect(t, serve(t, s, access("User.Read")), "2026-07-28", nil), "who_am_i", nil).StructuredContent.(map[string]any)
	if diff := cmp.Diff(map[string]any{"displayName": "Ada Lovelace", "jobTitle": "Analyst"}, with["profile"]); diff != "" {
		t.Error(diff)
	}
	if len(asked) != 1 || !strings.HasSuffix(asked[0], "/User.Read") {
		t.Errorf("asked for %v", asked)
	}
}

func TestGraphFailuresAreToolErrorsInPlainWords(t *testing.T) {
	for name, test := range map[string]struct {
		token  obo
		answer http.HandlerFunc
		want   string
	}{
		"forbidden": {granted, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "administrator"},
		"throttled": {granted, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, "Try again"},
		"no JSON":   {granted, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "Try again"},
		"endless":   {granted, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxProfile+1)) }, "Try again"},
		"Entra is down": {func(...string) (APIToken, error) {
			return "", &entra.Failure{Kind: entra.Unavailable, Summary: "Entra does not answer.", NextStep: "Try again."}
		}, nil, "Entra does not answer. Try again."},
		"sign-in over": {func(...string) (APIToken, error) {
			return "", oauth.New(oauth.InvalidToken, "Sign in again.").Because(errors.New("AADSTS50173"))
		}, nil, "Sign in again."},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Grants: signIns{}, Graph: test.token}
			if test.answer != nil {
				o.GraphURL = graph(t, test.answer)
			}
			result := call(t, connect(t, serve(t, New(o), access("User.Read")), "2026-07-28", nil), "who_am_i", nil)
			if !result.IsError || !strings.Contains(text(t, result), test.want) || strings.Contains(text(t, result), "AADSTS") {
				t.Errorf("got %q", text(t, result))
			}
		})
	}
}

func TestEndedSignInIsAToolError(t *testing.T) {
	who := access()
	who.GrantID = "gone"
	result := call(t, connect(t, serve(t, New(Options{Grants: signIns{}}), who), "2026-07-28", nil), "who_am_i", nil)
	if !result.IsError || text(t, result) != "The sign-in behind this token has ended. Sign in again." {
		t.Errorf("got %q", text(t, result))
	}
}

func TestMissingConsentIsALinkInTheErrorForClientsThatOpenNone(t *testing.T) {
	s := New(Options{Grants: signIns{}, Graph: obo(func(...string) (APIToken, error) { return "", consentNeeded })})
	url := serve(t, s, access("User.Read"))
	for _, revision := range revisions {
		result := call(t, connect(t, url, revision, nil), "who_am_i", nil)
		want := "This application may not read your profile yet. Ask an administrator to consent. " + consentURL
		if !result.IsError || text(t, result) != want {
			t.Errorf("%s: got %q", revision, text(t, result))
		}
	}
}

func TestMissingConsentIsOpenedByClientsThatCan(t *testing.T) {
	for action, wantError := range map[string]bool{"accept": false, "decline": true} {
		t.Run(action, func(t *testing.T) {
			var consented atomic.Bool
			s := New(Options{
				Grants: signIns{},
				Graph: obo(func(...string) (APIToken, error) {
					if !consented.Load() {
						return "", consentNeeded
					}
					return "graph-token", nil
				}),
				GraphURL: graph(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"displayName":"Ada"}`)) }),
			})
			var opened []string
			session := connect(t, serve(t, s, access("User.Read")), "2026-07-28", &mcp.ClientOptions{
				Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
				ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
					opened = append(opened, req.Params.Mode+" "+req.Params.URL)
					consented.Store(action == "accept")
					return &mcp.ElicitResult{Action: action}, nil
				},
			})
			result := call(t, session, "who_am_i", nil)
			if result.IsError != wantError {
				t.Errorf("got %q", text(t, result))
			}
			if wantError && !strings.Contains(text(t, result), consentURL) {
				t.Errorf("got %q", text(t, result))
			}
			if diff := cmp.Diff([]string{"url " + consentURL}, opened); diff != "" {
				t.Error(diff)
			}
		})
	}
}
