// Floor is what the server stands on: the MCP SDK as it is published, stateless,
// with the hello tool and no authentication; and beside it, at /echo, a handler
// of net/http that answers the body it was sent. It is a module of its own, so
// that nothing that the main module replaces gets in.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type hello struct {
	Name string `json:"name,omitempty" jsonschema:"whom to greet"`
}

type many struct {
	Subject string `json:"subject"`
	Count   int    `json:"count,omitempty"`
}

type greeting struct {
	Text string `json:"text"`
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "floor", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "hello_world", Description: "Say hello."},
		func(_ context.Context, _ *mcp.CallToolRequest, in hello) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Hello, " + in.Name + "!"}}}, nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "large", Description: "Answer with 100 kB of text."},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("0123456789abcdef", 6400)}}}, nil, nil
		})
	tools, _ := strconv.Atoi(os.Getenv("TOOLS"))
	for n := range tools {
		mcp.AddTool(server, &mcp.Tool{Name: "tool_" + strconv.Itoa(n), Description: "Tool number " + strconv.Itoa(n) + ", one of many."},
			func(context.Context, *mcp.CallToolRequest, many) (*mcp.CallToolResult, greeting, error) {
				return nil, greeting{}, nil
			})
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux))
}
