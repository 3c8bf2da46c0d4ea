package tools_test

import (
	"context"
	"fmt"

	"entramcp/handler/tools"
)

type addInput struct {
	A int `json:"a" jsonschema:"The first summand."`
	B int `json:"b" jsonschema:"The second summand." default:"1"`
}

func add(_ context.Context, _ *tools.Caller, in addInput) (int, error) {
	return in.A + in.B, nil
}

// A tool is a function and a line. Here the line stands in Options.Tools; in
// this room it goes into the catalogue.
func ExampleDefine() {
	server := tools.New(tools.Options{Tools: []tools.Tool{
		tools.Define("add", "Add two numbers.", add, tools.ReadOnly(), tools.RequireScopes("Numbers.Read")),
	}})
	fmt.Println("a call of add needs", server.ScopesFor("tools/call", "add"))
	// Output: a call of add needs Numbers.Read
}
