// Dev is make run and the commands beside it: it starts the handler as it is
// deployed, beside a simulated tenant, so that nobody needs an Azure account to
// try it.
//
//	dev HANDLER          make run: start the handler with a simulated tenant
//	dev -watch HANDLER   make dev: the same, rebuilt and restarted on change
//	dev token            make token: print a token
//	dev call             make call: call a tool and print the result
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"entramcp/dev/tenant"
)

const usage = "usage: dev [-watch] PATH-OF-THE-HANDLER, dev token, or dev call"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s := settingsFrom(getenv)
	fail := func(err error) int {
		fmt.Fprintln(stderr, err)
		return 1
	}
	switch {
	case len(args) == 1 && args[0] == "token":
		token, err := requestedToken(ctx, s, getenv)
		if err != nil {
			return fail(err)
		}
		fmt.Fprintln(stdout, token)
		return 0
	case len(args) == 1 && args[0] == "call":
		if err := call(ctx, s, getenv, stdout); err != nil {
			return fail(err)
		}
		return 0
	case len(args) == 1 && args[0] != "-watch":
		return serve(ctx, s, args[0], nil, stdout, stderr)
	case len(args) == 2 && args[0] == "-watch":
		return serve(ctx, s, args[1], newWatcher(".", args[1]), stdout, stderr)
	}
	fmt.Fprintln(stderr, usage)
	return 64
}

// serve runs the tenant and the handler until ctx ends or the handler does. With
// a watcher, the handler is started again whenever it was built again.
func serve(ctx context.Context, s settings, path string, watch *watcher, stdout, stderr io.Writer) int {
	// The handler would say so too, but whoever has the port would answer the
	// question whether it is ready.
	l, err := listen(s.port, "PORT")
	if err == nil {
		err = l.Close()
	}
	if err == nil {
		err = simulate(ctx, s, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	console := newConsole(stdout)
	for first := true; ; first = false {
		status, again := serveOnce(ctx, s, path, watch, console, first, stderr)
		if !again {
			return status
		}
		console.say("restart", "the handler was rebuilt and restarted; users stay signed in")
	}
}

// serveOnce runs the handler once. again says that it stopped for a new build.
func serveOnce(ctx context.Context, s settings, path string, watch *watcher, console *console, first bool, stderr io.Writer) (status int, again bool) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	child := handlerProcess(running, path, s, console, console.errors(stderr))
	if err := child.Start(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1, false
	}
	go func() {
		if waitUntilReady(running, s.publicURL()+"/readyz") {
			banner := ""
			if first {
				banner = s.banner()
			}
			console.open(banner)
		}
	}()
	rebuilt := make(chan struct{})
	if watch != nil {
		go func() {
			if watch.next(running, console, stderr) {
				close(rebuilt)
				stop()
			}
		}()
	}
	err := child.Wait()
	select {
	case <-rebuilt:
		return 0, ctx.Err() == nil
	default:
	}
	if ctx.Err() != nil {
		console.print("Stopped. Registrations and sign-ins are kept in " + s.dataDir + ".")
		return 0, false
	}
	if err == nil {
		return 0, false
	}
	// The handler has said on stderr what was wrong.
	return max(1, child.ProcessState.ExitCode()), false
}

func listen(port, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s is in use: stop the program that listens on it, or set %s to another one", port, setting)
	}
	return l, err
}

// simulate serves the simulated tenant on loopback, and the tokens of dev token.
func simulate(ctx context.Context, s settings, log *slog.Logger) error {
	listener, err := listen(s.tenantPort, "TENANT_PORT")
	if err != nil {
		return err
	}
	t, err := newTenant(s, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/", t)
	mux.Handle("POST "+issuePath, issue(t, s))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("simulated tenant", "cause", err)
		}
	}()
	return nil
}

func newTenant(s settings, log *slog.Logger) (*tenant.Tenant, error) {
	if err := os.MkdirAll(s.dataDir, 0o700); err != nil {
		return nil, err
	}
	t, err := tenant.New(tenant.Options{BaseURL: s.tenantURL(), State: filepath.Join(s.dataDir, "tenant.json"), Log: log})
	if err != nil {
		return nil, err
	}
	app := tenant.DefaultApp(simulatedSecret, s.publicURL()+"/auth/callback")
	app.Name, app.IdentifierURIs = "MCP server (local run)", []string{s.publicURL() + "/mcp"}
	return t, t.Register(app)
}

// waitUntilReady polls until the handler and all it depends on answer.
func waitUntilReady(ctx context.Context, url string) bool {
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}
