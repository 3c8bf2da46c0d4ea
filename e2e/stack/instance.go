package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/logtest"
)

// Instance is one handler process.
type Instance struct {
	URL string

	tb   testing.TB
	cmd  *exec.Cmd
	log  Output
	done chan struct{}
}

// Binary is the handler, built once per test binary as it is deployed, but
// with the catalogue of package entramcp/e2e/catalogue, so that no test depends
// on what a server's owner offers, and with the race detector when the test has
// it.
var Binary = sync.OnceValues(func() (string, error) { return build("app", "entramcp") })

// ahead is Binary with the clock of package entramcp/e2e/ahead.
var ahead = sync.OnceValues(func() (string, error) { return build("ahead", "entramcp/e2e/ahead") })

// Launcher is what make run starts, dev, built once per test binary.
var Launcher = sync.OnceValues(func() (string, error) { return goBuild("dev", "entramcp/dev") })

// scratch is a directory for what a test binary builds; Main removes it.
var scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "entramcp-e2e-") })

func build(name, main string) (string, error) {
	overlay, err := overlay()
	if err != nil {
		return "", err
	}
	args := []string{"-overlay", overlay}
	if raceEnabled {
		args = append(args, "-race")
	}
	return goBuild(name, append(args, main)...)
}

// goBuild builds a program under that name in scratch.
func goBuild(name string, args ...string) (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	build := exec.Command("go", append([]string{"build", "-o", path}, args...)...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
	}
	return path, nil
}

// overlay is a file for go build (go help build) that puts the files of
// e2e/catalogue in the place of those of handler/tools.
var overlay = sync.OnceValues(func() (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	shipped, own, err := sources("entramcp/handler/tools", "entramcp/e2e/catalogue")
	if err != nil {
		return "", err
	}
	for _, file := range shipped {
		replace[file] = ""
	}
	for _, file := range own {
		replace[filepath.Join(filepath.Dir(shipped[0]), filepath.Base(file))] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
})

// sources are the Go files of two packages.
func sources(packages ...string) (first, second []string, err error) {
	out, err := exec.Command("go", append([]string{"list", "-f", "{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}} {{end}}"}, packages...)...).Output()
	if err != nil {
		return nil, nil, err
	}
	a, b, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if first, second = strings.Fields(a), strings.Fields(b); !ok || len(first) == 0 || len(second) == 0 {
		return nil, nil, fmt.Errorf("go list found %q", out)
	}
	return first, second, nil
}

// startInstance starts a handler as the Functions host does: the port in
// FUNCTIONS_CUSTOMHANDLER_PORT, ready when it answers /.
func startInstance(tb testing.TB, built func() (string, error), env map[string]string) *Instance {
	tb.Helper()
	binary, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	port := FreePort(tb)
	i := &Instance{URL: "http://127.0.0.1:" + port, tb: tb, done: make(chan struct{})}
	i.cmd = exec.Command(binary)
	i.cmd.Env = environ(tb, env, "FUNCTIONS_CUSTOMHANDLER_PORT="+port)
	i.cmd.Stdout, i.cmd.Stderr = &i.log, &i.log
	if err := i.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = i.cmd.Wait()
		close(i.done)
	}()
	tb.Cleanup(func() {
		i.Kill()
		if tb.Failed() {
			tb.Logf("log of the handler at %s:\n%s", i.URL, i.Log())
		}
	})
	return i
}

// AddInstance starts one more instance with the same settings, or with the
// changes in env.
func (s *Stack) AddInstance(env map[string]string) *Instance {
	s.tb.Helper()
	i := s.Aside(s.tb, env)
	s.Instances = append(s.Instances, i)
	i.WaitReady()
	return i
}

// Aside starts an instance to which the public URL does not lead, with the same
// settings or with the changes in env. It does not wait for it to be ready.
func (s *Stack) Aside(tb testing.TB, env map[string]string) *Instance {
	tb.Helper()
	return startInstance(tb, Binary, s.with(env))
}

// AsideAhead is Aside for an instance whose clock is ahead of this machine's by d, or
// behind it if d is negative.
func (s *Stack) AsideAhead(tb testing.TB, d time.Duration, env map[string]string) *Instance {
	tb.Helper()
	all := s.with(env)
	all["CLOCK_AHEAD"] = d.String()
	return startInstance(tb, ahead, all)
}

// Command is a subcommand of the handler with the settings of the instances, or
// with the changes in env. It is ended after a minute.
func (s *Stack) Command(tb testing.TB, env map[string]string, args ...string) *exec.Cmd {
	tb.Helper()
	binary, err := Binary()
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	tb.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = environ(tb, s.with(env))
	return cmd
}

// with is the settings of the instances with the changes in env.
func (s *Stack) with(env map[string]string) map[string]string {
	all := maps.Clone(s.env)
	maps.Copy(all, env)
	return all
}

// environ is the whole environment of a process: nothing of the test's own.
func environ(tb testing.TB, env map[string]string, more ...string) []string {
	all := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir()}, more...)
	for name, v := range env {
		all = append(all, name+"="+v)
	}
	return all
}

// Run runs the binary with args, the stack's settings and the changes in env,
// and returns what it wrote and its exit status.
func (s *Stack) Run(env map[string]string, args ...string) (output string, status int) {
	s.tb.Helper()
	cmd := s.Command(s.tb, env, args...)
	cmd.Dir = s.tb.TempDir()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.tb.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// WaitReady waits until the instance and all it depends on answer.
func (i *Instance) WaitReady() {
	i.tb.Helper()
	clocktest.Eventually(i.tb, "handler at "+i.URL+" ready", readyWithin, func() bool {
		if !i.Alive() {
			i.tb.Fatalf("the handler ended:\n%s", i.Log())
		}
		return ready(http.DefaultClient, i.URL)
	})
}

// Alive reports whether the process still runs.
func (i *Instance) Alive() bool {
	select {
	case <-i.done:
		return false
	default:
		return true
	}
}

// Status waits for the end of the process and returns its exit status.
func (i *Instance) Status() int {
	<-i.done
	return i.cmd.ProcessState.ExitCode()
}

// Kill is what the Functions host does to end a handler: SIGKILL, no grace.
func (i *Instance) Kill() {
	_ = i.cmd.Process.Signal(syscall.SIGKILL)
	<-i.done
}

// Log is what the instance has written so far.
func (i *Instance) Log() string { return i.log.String() }

// Output is what a process writes, to be read while it runs.
type Output = logtest.Log

// FreePort is a port that nothing listens on now.
func FreePort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return portOf(l.Addr())
}
