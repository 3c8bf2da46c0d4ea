// Dev is make run: it starts the handler as it is deployed, beside a simulated
// tenant, so that nobody needs an Azure account to try it.
//
//	dev PATH-OF-THE-HANDLER
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: dev PATH-OF-THE-HANDLER")
		return 64
	}
	s := settingsFrom(getenv)
	// The handler would say so too, but whoever has the port would answer the
	// question whether it is ready.
	if l, err := listen(s.port, "PORT"); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	} else if err := l.Close(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if err := simulate(ctx, s, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	child := handlerProcess(ctx, args[0], s, stdout, stderr)
	if err := child.Start(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	serving, cancel := context.WithCancel(ctx)
	go func() {
		if waitUntilReady(serving, s.publicURL()+"/readyz") {
			fmt.Fprint(stdout, s.banner())
		}
	}()
	err := child.Wait()
	cancel()
	if ctx.Err() != nil {
		fmt.Fprintln(stdout, "Stopped. Registrations and sign-ins are kept in "+s.dataDir+".")
		return 0
	}
	if err == nil {
		return 0
	}
	// The handler has said on stderr what was wrong.
	return max(1, child.ProcessState.ExitCode())
}

func listen(port, setting string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s is in use: stop what listens there, or set %s to another one", port, setting)
	}
	return l, err
}

// simulate serves the simulated tenant on loopback.
func simulate(ctx context.Context, s settings, log *slog.Logger) error {
	listener, err := listen(s.tenantPort, "TENANT_PORT")
	if err != nil {
		return err
	}
	t, err := newTenant(s, log)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: t, ReadHeaderTimeout: 10 * time.Second}
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
	return t, t.Register(tenant.App{
		ClientID:     tenant.DefaultClientID,
		Name:         "MCP server (local run)",
		Secrets:      []tenant.Secret{{Value: simulatedSecret}},
		RedirectURIs: []string{s.publicURL() + "/auth/callback"},
		Scopes:       []string{tenant.DefaultScope},
		AppRoles:     []string{"Mcp.Admin", "Mcp.Reader"},
		TokenVersion: 2,
	})
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
