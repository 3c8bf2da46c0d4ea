package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/version"
)

const (
	// drainTime is how long the server still accepts requests after
	// /readyz has begun to answer 503.
	drainTime = 500 * time.Millisecond
	// grace is how long requests under way may then take. With drainTime it
	// ends before the 10 s after which docker stop kills.
	grace = 9 * time.Second
)

// serve listens before anything slow happens: the Functions host asks for /
// every 25 ms from the start and takes any answer as ready.
func serve(ctx context.Context, cfg config.Config, deps handler.Dependencies) error {
	address := net.JoinHostPort(cfg.ListenAddress.String(), strconv.Itoa(cfg.Port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is in use: stop the program that listens on it, or set PORT to another one", cfg.Port)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	defer listener.Close()

	app, err := handler.Open(cfg, deps)
	if err != nil {
		return err
	}
	// Requests in progress need the work in the background, and the store
	// last of all.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		app.Run(background)
	}()
	deps.Log.InfoContext(ctx, "serving", "address", listener.Addr().String(), "version", version.String(), "config", cfg)
	err = serveUntil(ctx, listener, app, app.Drain, deps.Log)
	stop()
	<-done
	return errors.Join(err, app.Close())
}

// serveUntil serves until ctx ends, and returns when the requests under way have
// been answered or their time is over. Before it stops accepting, it calls
// drain and asks clients to close their connections.
func serveUntil(ctx context.Context, listener net.Listener, h http.Handler, drain func(), log *slog.Logger) error {
	var draining atomic.Bool
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if draining.Load() {
				w.Header().Set("Connection", "close")
			}
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain()
	draining.Store(true)
	time.Sleep(drainTime)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		log.WarnContext(stopping, "requests were cut off when the time for stopping ended", "grace", grace.String())
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
