// The server as a process: a custom handler of Azure Functions, or on its own.
//
//	app               serve
//	app rotate-keys   publish a new epoch of the key ring now
//	app version       print the version
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/observe"
)

// Exit statuses (sysexits.h). Never 0 on failure: the Functions host does not
// restart a handler that exited with 0.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64
	exitConfig = 78
)

func main() {
	// SIGTERM and SIGINT end local runs; the Functions host only ever kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	if len(args) > 1 {
		command = "help"
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, handler.Version())
		return exitOK
	case "", "rotate-keys":
	default:
		fmt.Fprintln(stderr, "usage: app [rotate-keys | version]")
		return exitUsage
	}

	cfg, err := config.Load(getenv)
	if err != nil {
		fmt.Fprintf(stderr, "The configuration does not work:\n%v\n", err)
		return exitConfig
	}
	log := observe.NewLogger(stdout, stderr, cfg.LogLevel)
	switch command {
	case "rotate-keys":
		err = handler.RotateKeys(ctx, cfg, log)
	default:
		err = serve(ctx, cfg, log)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitOK
}
