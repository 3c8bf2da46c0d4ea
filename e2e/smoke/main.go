// Command smoke walks a deployed server once, as a client and in a browser: it
// discovers, registers, has a person sign in, calls a tool, refreshes and
// disconnects. It prints what it saw, step by step, and the line of evidence for
// docs/deploy.md. Its registration expires by itself; the sign-in is revoked.
//
//	go run ./e2e/smoke https://mcp.example.com/mcp
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: make smoke URL=https://<host>/mcp")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	w := &walk{
		endpoint: os.Args[1],
		client:   &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		open:     openBrowser,
		out:      os.Stdout,
	}
	err := w.run(ctx)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// openBrowser shows a page to the person at this computer. The address is printed
// too, for computers without a screen.
func openBrowser(ctx context.Context, address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	return exec.CommandContext(ctx, name, args...).Start() //nolint:gosec // the address is one of the server's
}
