// Package toolkit is for writing tools, resources and prompts, and has the MCP server
// that serves them.
//
// A tool is a function and a line in a Catalogue. The function's argument
// struct becomes the input schema, its result the output schema:
//
//	type addInput struct {
//		A int `json:"a" jsonschema:"The first summand."`
//		B int `json:"b,omitempty" jsonschema:"The second summand." default:"1"`
//	}
//
//	func add(ctx context.Context, caller *toolkit.Caller, in addInput) (int, error) {
//		return in.A + in.B, nil
//	}
//
//	toolkit.Define("add", "Add two numbers.", add, toolkit.ReadOnly()),
//
// Rules such as RequireScopes and RequireRole say who may call it; Caller says
// who does.
package toolkit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/oauth"
	"entramcp/handler/pages"
)

// Catalogue is what a server offers and how it presents itself.
type Catalogue struct {
	About
	Tools     []Tool
	Resources []Resource
	Prompts   []Prompt
	// Hooks run around everything above, in this order.
	Hooks []Hook
}

// With is the catalogue together with others. Its About stays, and its hooks come
// first.
func (c Catalogue) With(more ...Catalogue) Catalogue {
	for _, m := range more {
		c.Tools = slices.Concat(c.Tools, m.Tools)
		c.Resources = slices.Concat(c.Resources, m.Resources)
		c.Prompts = slices.Concat(c.Prompts, m.Prompts)
		c.Hooks = slices.Concat(c.Hooks, m.Hooks)
	}
	return c
}

// Scopes are all scopes that a definition requires or can use. Those of other APIs
// are left out if the server cannot get tokens for them.
func (c Catalogue) Scopes(callsAPIs bool) oauth.Scopes {
	var scopes oauth.Scopes
	for _, d := range c.definitions() {
		scopes = scopes.Union(d.required).Union(d.optional)
		if callsAPIs {
			scopes = scopes.Union(d.api)
		}
	}
	return scopes
}

// ScopeWords are the descriptions of scopes (DescribeScope), by scope.
func (c Catalogue) ScopeWords() map[string]string {
	words := map[string]string{}
	for _, d := range c.definitions() {
		maps.Copy(words, d.words)
	}
	return words
}

// definitions are those of all kinds.
func (c Catalogue) definitions() []*definition {
	var all []*definition
	for i := range c.Tools {
		all = append(all, &c.Tools[i].definition)
	}
	for i := range c.Resources {
		all = append(all, &c.Resources[i].definition)
	}
	for i := range c.Prompts {
		all = append(all, &c.Prompts[i].definition)
	}
	return all
}

// capabilities are those that the catalogue has something for. Nothing is
// kept between requests, so no change can be announced, and the SDK would
// advertise logging if there were none at all.
func (c Catalogue) capabilities() *mcp.ServerCapabilities {
	caps := &mcp.ServerCapabilities{}
	if len(c.Tools) > 0 {
		caps.Tools = &mcp.ToolCapabilities{}
	}
	if len(c.Resources) > 0 {
		caps.Resources = &mcp.ResourceCapabilities{}
	}
	if len(c.Prompts) > 0 {
		caps.Prompts = &mcp.PromptCapabilities{}
	}
	if slices.ContainsFunc(c.Resources, func(r Resource) bool { return r.completes() }) ||
		slices.ContainsFunc(c.Prompts, func(p Prompt) bool { return p.completes() }) {
		caps.Completions = &mcp.CompletionCapabilities{}
	}
	return caps
}

// About is how the server presents itself: to clients in serverInfo, in the
// metadata of RFC 8414 and RFC 9728, on its pages and in the banner of a local
// run.
type About struct {
	// Name identifies the server to programs: [a-z][a-z0-9_-]*, at most 48
	// characters.
	Name string
	// Title is what people read.
	Title string
	// Description says in one sentence what the server is for. It may be empty.
	Description string
	// Instructions tell a model how the tools belong together. Clients may put
	// them into every prompt: a few hundred words at most.
	Instructions string
	// Website, Privacy and Terms are https URLs, or empty: about the server, what it
	// does with data, and the terms of its use.
	Website, Privacy, Terms string
	// Accent is the colour of buttons and links on the pages, as #rrggbb. White text
	// on it must be readable (WCAG 2.2, 1.4.3: contrast of 4.5). Empty is the pages'
	// own.
	Accent string
	// Support is where people turn to when something fails: a mail address or
	// an https URL. It may be empty.
	Support string
	// Icons are shown by clients and on the pages, best first.
	Icons []Icon
}

// Icon is an icon of the server or of a tool.
type Icon struct {
	// Source is an https URL, or a data URL of at most 16 KiB.
	Source string
	// MIMEType is image/png or image/svg+xml.
	MIMEType string
	// Sizes are such as "48x48", or "any" for a vector image.
	Sizes []string
}

// Description describes a running server.
type Description struct {
	Name, Title, Version string
	// Revision is the commit that the server was built from and RevisionTime when
	// that was made; both are empty if the build does not record them.
	Revision, RevisionTime string
	// Authentication says in words how callers sign in.
	Authentication string
	// Tools are those of the catalogue, by name.
	Tools []ToolDescription
}

// ToolDescription is one tool of a Description.
type ToolDescription struct{ Name, Title, Description string }

func (a About) implementation(version string) *mcp.Implementation {
	return &mcp.Implementation{
		Name: cmp.Or(a.Name, "mcp"), Title: a.Title, Description: a.Description, Version: version,
		WebsiteURL: a.Website, Icons: sdkIcons(a.Icons),
	}
}

// maxIcon is the longest data URL in bytes: every list contains it.
const maxIcon = 16 << 10

// Check finds what clients would refuse, and what people could not read.
func (a About) Check() error {
	var wrong []error
	refuse := func(what string, args ...any) {
		wrong = append(wrong, errors.New("the catalogue's "+fmt.Sprintf(what, args...)))
	}
	if a.Name != "" && !validServerName.MatchString(a.Name) {
		refuse("Name %q must match %s", a.Name, validServerName)
	}
	for name, address := range map[string]string{"Website": a.Website, "Privacy": a.Privacy, "Terms": a.Terms} {
		if address != "" && !isHTTPS(address) {
			refuse("%s %q is not an https URL", name, address)
		}
	}
	if a.Accent != "" {
		if contrast, err := pages.ContrastWithWhite(a.Accent); err != nil {
			refuse("Accent %v", err)
		} else if contrast < pages.LeastContrast {
			refuse("Accent %s is too light for white text: its contrast is %.1f, and text needs %.1f to be read. Choose a darker colour", a.Accent, contrast, pages.LeastContrast)
		}
	}
	if a.Support != "" && !isHTTPS(a.Support) && !formats["email"](a.Support) {
		refuse("Support %q is neither a mail address nor an https URL", a.Support)
	}
	for _, icon := range a.Icons {
		if !isHTTPS(icon.Source) && (!strings.HasPrefix(icon.Source, "data:image/") || len(icon.Source) > maxIcon) {
			refuse("icon is neither an https URL nor a data URL of an image of at most %d bytes", maxIcon)
		}
	}
	return errors.Join(wrong...)
}

func isHTTPS(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "https" && u.Host != ""
}
