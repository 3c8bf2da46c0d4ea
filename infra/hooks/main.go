// Command hooks is what azd runs before it provisions, after it has deployed,
// and around taking down: see azure.yaml. It is run by "go run", which azd's
// users have, so that one program serves sh and PowerShell.
//
//	hooks preprovision   check everything that would fail later, and refuse
//	hooks registration   say what an app registration of one's own needs
//	hooks postup         say how to connect, and wait until the server is ready
//	hooks predown        say what will be lost
//	hooks postdown       say what remains
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

// program is the world outside: azd's variables, other commands, the network
// and the clock.
type program struct {
	getenv func(string) string
	run    func(ctx context.Context, name string, args ...string) ([]byte, error)
	client *http.Client
	lookup func(ctx context.Context, host string) ([]string, error)
	out    io.Writer
	now    func() time.Time
	sleep  func(context.Context, time.Duration)
	root   string // of the repository
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	p := &program{
		getenv: os.Getenv,
		run:    run,
		client: &http.Client{Timeout: 15 * time.Second},
		lookup: net.DefaultResolver.LookupHost,
		out:    os.Stdout,
		now:    time.Now,
		sleep:  sleep,
		root:   ".",
	}
	status := p.main(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// main returns the exit status. azd stops at a hook that fails.
func (p *program) main(ctx context.Context, args []string) int {
	hooks := map[string]func(context.Context) int{
		"preprovision": p.preprovision,
		"registration": p.registration,
		"postup":       p.postUp,
		"predown":      p.preDown,
		"postdown":     p.postDown,
	}
	if len(args) != 1 || hooks[args[0]] == nil {
		p.say("usage: go run ./infra/hooks preprovision | registration | postup | predown | postdown\n")
		return 64
	}
	if _, err := os.Stat(filepath.Join(p.root, "azure.yaml")); err != nil {
		p.say("Run this where azure.yaml is.\n")
		return 1
	}
	return hooks[args[0]](ctx)
}

func (p *program) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format, args...)
}

// run returns what a command printed. It is how the Azure CLI is asked.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, path, args...).Output() //nolint:gosec // az, with our arguments
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
