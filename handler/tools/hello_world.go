package tools

import (
	"context"

	"entramcp/handler/toolkit"
)

type helloInput struct {
	Name string `json:"name,omitempty" jsonschema:"Who to greet." default:"World"`
}

func helloWorld(_ context.Context, _ *toolkit.Caller, in helloInput) (string, error) {
	return "Hello, " + in.Name + "! You've successfully authenticated with Azure and accessed this MCP tool.", nil
}
