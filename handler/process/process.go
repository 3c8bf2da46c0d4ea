// Package process is the server as a process: its commands, signals and exit
// statuses.
//
//	app           serve
//	app doctor    check the configuration and all that it names
//	app version   print the version
//	app help      list the commands for operators
package process

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/doctor"
	"entramcp/handler/observe"
	"entramcp/handler/telemetry"
	"entramcp/handler/version"
)

// Exit statuses (sysexits.h). Never 0 on failure: the Functions host does not
// restart a handler that exited with 0.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64
	exitConfig = 78
	// exitEnded follows SIGTERM in Azure: the host itself only kills, so it
	// is to start the handler again.
	exitEnded = 143
)

// Main runs the command that the arguments name and returns the exit status.
// deps is what the server is made of beside its configuration, which Main reads;
// most callers leave it empty or set the catalogue of tools.
func Main(deps handler.Dependencies) int {
	// SIGTERM and SIGINT end local runs; the Functions host only ever kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr, deps)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer, deps handler.Dependencies) int {
	switch {
	case len(args) == 0, len(args) == 1 && args[0] == "doctor":
	case len(args) == 1 && args[0] == "version":
		fmt.Fprintln(stdout, version.String())
		return exitOK
	case args[0] == "help" || isHelp(args[0]):
		usage(stdout)
		return exitOK
	default:
		for _, c := range ownCommands {
			if len(args) == 2 && args[0] == c.name && isHelp(args[1]) {
				c.help(stdout)
				return exitOK
			}
		}
		if c, rest, ok := find(args); ok {
			return runCommand(ctx, c, rest, getenv, stdout, stderr, deps.Offered())
		}
		fmt.Fprintf(stderr, "app has no command %q.", strings.Join(args, " "))
		if name := nearest(args); name != "" {
			fmt.Fprintf(stderr, " Did you mean app %s?", name)
		}
		fmt.Fprint(stderr, "\nRun app help for the list of commands.\n")
		return exitUsage
	}

	cfg, problems := load(getenv)
	if len(args) == 1 {
		return diagnose(ctx, cfg, problems, stdout)
	}
	if len(problems) > 0 {
		fmt.Fprintf(stderr, "The configuration is not valid:\n%v\n", problems)
		return exitConfig
	}
	if deps.Log == nil {
		deps.Log = newLog(cfg, stdout, stderr, func(ctx context.Context, e observe.Event) { deps.Telemetry.Event(ctx, e) })
	}
	for _, n := range cfg.Notices {
		deps.Log.WarnContext(ctx, "setting without effect", "setting", n.Name, "notice", n.String())
	}
	tuneCollector(getenv)
	var err error
	deps.Telemetry, err = telemetry.New(telemetry.Options{
		Getenv: getenv, Name: cmp.Or(getenv("WEBSITE_SITE_NAME"), "entramcp"), Version: version.String(), Instance: rand.Text(),
		ToLog: cfg.InAzure, Log: deps.Log,
	})
	if err != nil {
		fmt.Fprintf(stderr, "The configuration is not valid:\n%v\n", err)
		return exitConfig
	}
	err = serve(ctx, cfg, deps)
	sendRest(ctx, deps.Telemetry)
	switch {
	case err != nil && ctx.Err() == nil:
		fmt.Fprintln(stderr, err)
		return exitFailed
	case ctx.Err() != nil && cfg.InAzure:
		return exitEnded
	}
	return exitOK
}

// load reads the environment and the local settings file, for every command
// alike.
func load(getenv func(string) string) (config.Config, config.Problems) {
	getenv, err := config.WithLocalSettings(getenv)
	var cfg config.Config
	if err == nil {
		cfg, err = config.Load(getenv)
	}
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		problems = config.Problems{{Name: "the environment", Wrong: "cannot be used: " + err.Error(), Write: "Correct it"}}
	}
	return cfg, problems
}

// newLog writes for people on a terminal, and else for programs.
func newLog(cfg config.Config, stdout, stderr io.Writer, onEvent func(context.Context, observe.Event)) *slog.Logger {
	text := cfg.LogFormat == config.LogText || cfg.LogFormat == config.LogAuto && terminal(stdout)
	return observe.NewLogger(observe.LogOptions{
		Out: stdout, Errs: stderr, Level: cfg.LogLevel, Text: text, ObjectIDs: cfg.AuditObjectIDs, OnEvent: onEvent,
	})
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// sendRest gives telemetry a moment to send what it still has.
func sendRest(ctx context.Context, t *telemetry.Telemetry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = t.Shutdown(ctx) // reported by telemetry itself
}

// diagnose reports on the configuration and all that it names. Only a
// configuration that loads can be followed further.
func diagnose(ctx context.Context, cfg config.Config, problems config.Problems, stdout io.Writer) int {
	findings := doctor.Configuration(cfg, problems)
	if len(problems) == 0 {
		findings = append(findings, doctor.Run(ctx, cfg)...)
	}
	switch bad := doctor.Print(stdout, findings); {
	case len(problems) > 0:
		return exitConfig
	case bad > 0:
		return exitFailed
	}
	return exitOK
}
