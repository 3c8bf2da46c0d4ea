// The server as a process: a custom handler of Azure Functions, or on its own.
package main

import (
	"os"

	"entramcp/handler"
	"entramcp/handler/process"
)

func main() { os.Exit(process.Main(handler.Dependencies{})) }
