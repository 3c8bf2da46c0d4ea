package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/version"
)

// grace is how long requests under way may take once a local run is ended.
const grace = 5 * time.Second

// serve listens before anything slow happens: the Functions host asks for /
// every 25 ms from the start and takes any answer as ready.
func serve(ctx context.Context, cfg config.Config, deps handler.Dependencies) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is in use: stop what listens there, or set PORT to another one", cfg.Port)
	}
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", cfg.Port, err)
	}
	defer listener.Close()

	app, err := handler.Open(cfg, deps)
	if err != nil {
		return err
	}
	defer app.Close()

	server := &http.Server{
		Handler:           app,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
	}
	background, stopBackground := context.WithCancel(ctx)
	defer stopBackground()
	done := make(chan struct{})
	go func() {
		defer close(done)
		app.Run(background)
	}()
	ended := context.AfterFunc(ctx, func() {
		shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		_ = server.Shutdown(shut)
	})
	defer ended()

	deps.Log.InfoContext(ctx, "serving", "address", listener.Addr().String(), "version", version.String(), "config", cfg)
	err = server.Serve(listener)
	stopBackground()
	<-done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
