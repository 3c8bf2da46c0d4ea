// Own is the server with a catalogue to measure: the hello tool, one with a
// large answer, and as many more as TOOLS says.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"

	"entramcp/handler"
	"entramcp/handler/process"
	"entramcp/handler/toolkit"
)

type hello struct {
	Name string `json:"name,omitempty" jsonschema:"Whom to greet."`
}

type many struct {
	Subject string `json:"subject" jsonschema:"What it is about."`
	Count   int    `json:"count,omitempty" jsonschema:"How many."`
}

type greeting struct {
	Text string `json:"text"`
}

func main() {
	catalogue := toolkit.Catalogue{
		About: toolkit.About{Name: "bench", Title: "Bench"},
		Tools: []toolkit.Tool{
			toolkit.Define("hello_world", "Say hello.", func(_ context.Context, _ *toolkit.Caller, in hello) (string, error) {
				return "Hello, " + in.Name + "!", nil
			}),
			toolkit.Define("large", "Answer with 100 kB of text.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
				return strings.Repeat("0123456789abcdef", 6400), nil
			}),
			toolkit.Define("work", "Compute for two milliseconds or so.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
				sum := sha256.Sum256(nil)
				for range 20_000 {
					sum = sha256.Sum256(sum[:])
				}
				return fmt.Sprintf("worked %x", sum[:2]), nil
			}),
		},
	}
	tools, _ := strconv.Atoi(os.Getenv("TOOLS"))
	for n := range tools {
		catalogue.Tools = append(catalogue.Tools, toolkit.Define(fmt.Sprint("tool_", n), fmt.Sprintf("Tool number %d, one of many.", n),
			func(context.Context, *toolkit.Caller, many) (greeting, error) { return greeting{}, nil }))
	}
	os.Exit(process.Main(handler.Dependencies{Catalogue: &catalogue}))
}
