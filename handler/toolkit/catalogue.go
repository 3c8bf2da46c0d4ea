// Package toolkit is what tools, resources and prompts are made with, and the
// MCP server that serves them.
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

// Catalogue is what a server offers and how it presents itself.
type Catalogue struct {
	About
	Tools []Tool
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
	// Website is an https URL, or empty.
	Website string
	// Support is where people turn to when something fails: a mail address or
	// an https URL. It may be empty.
	Support string
	// Icons are shown by clients and on the pages, best first.
	Icons []Icon
}

// Icon is a picture of the server or of a tool.
type Icon struct {
	// Source is an https URL, or a data URL of at most 16 KiB.
	Source string
	// MIMEType is image/png or image/svg+xml.
	MIMEType string
	// Sizes are such as "48x48", or "any" for a vector image.
	Sizes []string
}

// Description is what a running server says of itself.
type Description struct {
	Name, Title, Version string
	// Revision is the commit that the server was built from and RevisionTime
	// when that was made; both are empty where the build does not know.
	Revision, RevisionTime string
	// Authentication says in words how callers sign in.
	Authentication string
	// Tools are those of the catalogue, by name.
	Tools []ToolDescription
}

// ToolDescription is one tool of a Description.
type ToolDescription struct{ Name, Description string }
