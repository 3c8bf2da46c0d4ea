// A server of one's own: the default catalogue with more, from a main that is not the
// one that is deployed. make run EXAMPLES=on builds it.
package main

import (
	"os"

	"entramcp/examples"
	"entramcp/handler"
	"entramcp/handler/process"
	"entramcp/handler/tools"
)

func main() {
	catalogue := tools.Catalogue().With(examples.All()...)
	os.Exit(process.Main(handler.Dependencies{Catalogue: &catalogue}))
}
