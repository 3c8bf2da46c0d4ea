// Command ahead is the server with a clock of its own: CLOCK_AHEAD before that of
// the machine, or behind it if negative. The server that is deployed has no such
// setting; tests of instances whose clocks are apart build this one instead.
package main

import (
	"fmt"
	"os"
	"time"

	"entramcp/handler"
	"entramcp/handler/process"
)

func main() {
	ahead, err := time.ParseDuration(os.Getenv("CLOCK_AHEAD"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "CLOCK_AHEAD:", err)
		os.Exit(2)
	}
	os.Exit(process.Main(handler.Dependencies{Now: func() time.Time { return time.Now().Add(ahead) }}))
}
