package toolkit_test

import (
	"context"
	"fmt"

	"entramcp/handler/toolkit"
)

type addInput struct {
	A int `json:"a" jsonschema:"The first summand."`
	B int `json:"b" jsonschema:"The second summand." default:"1"`
}

func add(_ context.Context, _ *toolkit.Caller, in addInput) (int, error) {
	return in.A + in.B, nil
}

// A tool is a function and a line in the catalogue.
func ExampleDefine() {
	server := toolkit.New(toolkit.Options{Catalogue: toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("add", "Add two numbers.", add, toolkit.ReadOnly(), toolkit.RequireScopes("Numbers.Read")),
	}}})
	fmt.Println("a call of add needs", server.ScopesFor("tools/call", "add"))
	// Output: a call of add needs Numbers.Read
}
