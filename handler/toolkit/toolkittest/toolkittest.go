// Package toolkittest calls the tools of a catalogue as a named user, in unit
// tests:
//
//	func TestManager(t *testing.T) {
//		ada := toolkittest.SignIn(t, catalogue, toolkittest.User{Scopes: []string{"User.Read"}},
//			toolkittest.Graph{"/v1.0/me/manager": `{"displayName":"Grace Hopper"}`})
//		if got := ada.Call("my_manager", nil); got.Text != "Grace Hopper" {
//			t.Error(got.Text)
//		}
//	}
//
// The calls go through the MCP server of package toolkit and its client, over
// loopback, without the sign-in.
package toolkittest

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/mcphttp"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
	"entramcp/handler/toolkit"
)

// User is who calls. Empty members have values of a user of Contoso.
type User struct {
	// Kind is grants.User if empty. Other kinds of callers have no grant.
	Kind               grants.CallerKind
	Name, Username     string
	TenantID, ObjectID string
	ClientID           string
	Roles, Scopes      []string
}

// Option changes the server that a test calls.
type Option interface{ apply(*setup) }

type option func(*setup)

func (f option) apply(s *setup) { f(s) }

type setup struct {
	options   toolkit.Options
	client    mcp.ClientOptions
	revision  string
	graph     http.Handler
	noConsent []string
	signedOut bool
	ownGrants bool
}

// Graph is a fake Microsoft Graph: what it answers to GET, as JSON, by path.
// Other paths are not found.
type Graph map[string]string

func (g Graph) apply(s *setup) { s.graph = g }

// ServeHTTP answers as Microsoft Graph would.
func (g Graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body, ok := g[r.URL.Path]
	if !ok || r.Method != http.MethodGet {
		w.WriteHeader(http.StatusNotFound)
		body = `{"error":{"code":"ResourceNotFound","message":"Resource not found."}}`
	}
	_, _ = w.Write([]byte(body))
}

// GraphHandler is a fake Microsoft Graph that answers as h does.
func GraphHandler(h http.HandlerFunc) Option { return option(func(s *setup) { s.graph = h }) }

// ConsentURL is where the fake Entra sends users who have not consented.
const ConsentURL = "https://login.microsoftonline.com/organizations/v2.0/adminconsent?client_id=1"

// ConsentMissing makes the fake Entra refuse tokens for scopes, such as
// User.Read.
func ConsentMissing(scopes ...string) Option {
	return option(func(s *setup) { s.noConsent = append(s.noConsent, scopes...) })
}

// SignedOut ends the sign-in behind the calls.
func SignedOut() Option { return option(func(s *setup) { s.signedOut = true }) }

// Grants is where the identity is read instead.
func Grants(g toolkit.GrantReader) Option {
	return option(func(s *setup) { s.options.Grants, s.ownGrants = g, true })
}

// Revision makes the client speak an earlier revision of MCP, such as
// 2025-11-25.
func Revision(revision string) Option { return option(func(s *setup) { s.revision = revision }) }

// ClientOptions are those of the SDK's client: what it answers when it is asked.
func ClientOptions(o mcp.ClientOptions) Option { return option(func(s *setup) { s.client = o }) }

// ServerOptions changes those of the server.
func ServerOptions(change func(*toolkit.Options)) Option {
	return option(func(s *setup) { change(&s.options) })
}

// Session is a signed-in client.
type Session struct {
	// Client is the SDK's session, for what Session has no method for.
	Client *mcp.ClientSession
	t      testing.TB
}

// SignIn serves catalogue to user until the test ends.
func SignIn(t testing.TB, catalogue toolkit.Catalogue, user User, options ...Option) *Session {
	t.Helper()
	s := newSetup(t, catalogue, user, options)
	return &Session{t: t, Client: connect(t, serve(t, admit(user.access(), mcphttp.Handler(toolkit.New(s.options).Handler()))), s)}
}

// Serve serves catalogue to several users from one server, for tests that speak HTTP
// themselves, and returns a URL for each. Any bearer token will do.
func Serve(t testing.TB, catalogue toolkit.Catalogue, users ...User) []string {
	t.Helper()
	handler := mcphttp.Handler(toolkit.New(newSetup(t, catalogue, users[0], nil).options).Handler())
	var urls []string
	for _, user := range users {
		urls = append(urls, serve(t, admit(user.access(), handler)))
	}
	return urls
}

func (u User) withDefaults() User {
	u.TenantID = cmp.Or(u.TenantID, "f2a49aef-3c2c-4e9b-8f5a-2f7b7a6f0001")
	u.ObjectID = cmp.Or(u.ObjectID, "0b1c3f52-7c1e-4d52-9a52-5d5d2b6f0001")
	u.Name = cmp.Or(u.Name, "Ada Lovelace")
	u.Username = cmp.Or(u.Username, "ada@contoso.com")
	return u
}

// access is what the bearer check would find in the user's token.
func (u User) access() *grants.Access {
	u = u.withDefaults()
	a := &grants.Access{
		Subject: grants.SubjectOf(u.TenantID, u.ObjectID), TenantID: u.TenantID, Kind: u.Kind,
		ClientID: cmp.Or(u.ClientID, "client-1"), Scopes: oauth.NewScopes(u.Scopes...), Roles: u.Roles,
	}
	if u.Kind != grants.User {
		a.Identity = &grants.Identity{TenantID: u.TenantID, ObjectID: u.ObjectID, Roles: u.Roles}
		return a
	}
	a.GrantID = "grant of " + u.ObjectID
	return a
}

func newSetup(t testing.TB, catalogue toolkit.Catalogue, user User, options []Option) setup {
	t.Helper()
	s := setup{options: toolkit.Options{Catalogue: catalogue}}
	for _, o := range options {
		o.apply(&s)
	}
	if s.options.Table == nil {
		s.options.Table = Table(t)
	}
	if s.options.Sealer == nil {
		wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("toolkittest-key-", 2))})
		if err != nil {
			t.Fatal(err)
		}
		s.options.Sealer = keyring.New(keyring.Options{Table: s.options.Table, Wrapper: wrapper, Now: s.options.Now})
	}
	if !s.ownGrants {
		s.options.Grants = signIn{user.withDefaults(), user.access(), s.signedOut}
	}
	if s.graph != nil || s.noConsent != nil {
		s.options.GraphURL = serve(t, checked(t, cmp.Or[http.Handler](s.graph, Graph{})))
		s.options.API = fakeEntra{s.options.GraphURL, s.noConsent}
	}
	return s
}

// Table is a table of its own, to share between the sessions of one test.
func Table(t testing.TB) store.Table { return storetest.Embedded(t) }

// On serves from table, which two sessions share if two users, or two instances of
// one server, are meant.
func On(table store.Table) Option { return option(func(s *setup) { s.options.Table = table }) }

// At is the server's clock.
func At(now func() time.Time) Option { return option(func(s *setup) { s.options.Now = now }) }

// Answering makes the client one that shows forms and opens links, and answer what its
// user does with each: the action, such as "accept", and what a form was filled with.
func Answering(answer func(message, url string) (action string, content map[string]any)) Option {
	return ClientOptions(mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{
			Form: &mcp.FormElicitationCapabilities{}, URL: &mcp.URLElicitationCapabilities{},
		}},
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			action, content := answer(req.Params.Message, req.Params.URL)
			return &mcp.ElicitResult{Action: action, Content: content}, nil
		},
	})
}

// admit does what the bearer check of a running server does.
func admit(access *grants.Access, next http.Handler) http.Handler {
	return auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
		return &auth.TokenInfo{UserID: string(access.Subject), Extra: map[string]any{grants.AccessKey: access}}, nil
	}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(next)
}

func serve(t testing.TB, h http.Handler) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token")
	return http.DefaultTransport.RoundTrip(r)
}

func connect(t testing.TB, url string, s setup) *mcp.ClientSession {
	t.Helper()
	client, err := mcp.NewClient(&mcp.Implementation{Name: "toolkittest", Version: "1"}, &s.client).Connect(t.Context(),
		&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: bearer{}, Timeout: 20 * time.Second}, DisableStandaloneSSE: true},
		&mcp.ClientSessionOptions{ProtocolVersion: cmp.Or(s.revision, "2026-07-28")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Result is what a tool answered.
type Result struct {
	// Text is that of all content, one line for each piece.
	Text string
	// Structured is the structured content.
	Structured any
	// Failed is isError.
	Failed bool
	// Raw is all of it.
	Raw *mcp.CallToolResult
}

// Call calls a tool with arguments that encode as a JSON object, or nil. A
// protocol error ends the test.
func (s *Session) Call(tool string, arguments any) Result {
	s.t.Helper()
	raw, err := s.Client.CallTool(s.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		s.t.Fatalf("%s: %v", tool, err)
	}
	r := Result{Structured: raw.StructuredContent, Failed: raw.IsError, Raw: raw}
	var lines []string
	for _, c := range raw.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			lines = append(lines, text.Text)
		}
	}
	r.Text = strings.Join(lines, "\n")
	return r
}

// Read reads a resource and returns the text of its contents. An error, a missing
// resource too, ends the test.
func (s *Session) Read(uri string) string {
	s.t.Helper()
	read, err := s.Client.ReadResource(s.t.Context(), &mcp.ReadResourceParams{URI: uri})
	if err != nil {
		s.t.Fatalf("%s: %v", uri, err)
	}
	var all strings.Builder
	for _, c := range read.Contents {
		all.WriteString(c.Text)
		all.Write(c.Blob)
	}
	return all.String()
}

// Prompt gets a prompt and returns the text of its messages, one line for each. An error
// ends the test.
func (s *Session) Prompt(name string, arguments map[string]string) string {
	s.t.Helper()
	got, err := s.Client.GetPrompt(s.t.Context(), &mcp.GetPromptParams{Name: name, Arguments: arguments})
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	var lines []string
	for _, m := range got.Messages {
		if text, ok := m.Content.(*mcp.TextContent); ok {
			lines = append(lines, text.Text)
		}
	}
	return strings.Join(lines, "\n")
}

// signIn is the grant behind the calls.
type signIn struct {
	user   User
	access *grants.Access
	over   bool
}

func (s signIn) Get(_ context.Context, subject grants.Subject, id string) (grants.Grant, error) {
	if s.over || subject != s.access.Subject || id != s.access.GrantID {
		return grants.Grant{}, oauth.New(oauth.InvalidToken, "The sign-in behind this token has ended. Sign in again.")
	}
	return grants.Grant{ID: id, Subject: subject, ClientID: s.access.ClientID, Scopes: s.access.Scopes, Identity: grants.Identity{
		TenantID: s.user.TenantID, ObjectID: s.user.ObjectID, Name: s.user.Name, Username: s.user.Username, Roles: s.user.Roles,
	}}, nil
}

const apiToken = "token-for-the-fake-graph"

// fakeEntra gives the same token to everyone who has consented.
type fakeEntra struct {
	graphURL  string
	noConsent []string
}

func (f fakeEntra) Token(_ context.Context, _ grants.Grant, scopes ...string) (entra.APIToken, error) {
	for _, scope := range scopes {
		if slices.Contains(f.noConsent, strings.TrimPrefix(scope, f.graphURL+"/")) {
			return entra.APIToken{}, &entra.Error{
				Kind: entra.ConsentNeeded, ConsentURL: ConsentURL,
				Summary: fmt.Sprintf("This application may not use %s yet.", scope), NextStep: "Ask an administrator to consent.",
			}
		}
	}
	return entra.APIToken{Value: secret.New(apiToken)}, nil
}

func (fakeEntra) Refused(grants.Grant, entra.APIToken, ...string) {}

// checked fails the test for a request without the user's token.
func checked(t testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+apiToken {
			t.Errorf("the fake Graph got %s %s with %q", r.Method, r.URL.Path, got)
		}
		next.ServeHTTP(w, r)
	})
}
