// Package tools is the MCP server behind the door: what people add to.
//
// A tool is one function in a file of its own and one line in the list below.
// The function's argument struct becomes the input schema, its result the
// output schema:
//
//	type addInput struct {
//		A int `json:"a" jsonschema:"The first summand."`
//		B int `json:"b,omitempty" jsonschema:"The second summand." default:"1"`
//	}
//
//	func add(ctx context.Context, caller *Caller, in addInput) (int, error) {
//		return in.A + in.B, nil
//	}
//
//	Define("add", "Add two numbers.", add, ReadOnly()),
//
// RequireScopes and RequireRole guard a tool; Caller says who calls. Resources
// and prompts are added to Server.MCP.
package tools

// catalogue lists the tools.
func (s *Server) catalogue() []Tool {
	return []Tool{
		Define("hello_world", "Greet someone by name.", helloWorld, ReadOnly()),
		Define("server_info", "Describe this server: version, authentication and tools.", s.serverInfo, ReadOnly()),
		Define("who_am_i", "Show who is signed in, and their Microsoft Graph profile if User.Read is granted.", s.whoAmI, ReadOnly(), s.graphScope()),
	}
}
