//go:build unix

// Command mutate measures how much of a package its own tests hold: it changes
// the code in one place at a time and looks whether a test fails. The tree stays
// as it is: the changed file is laid over it (go help build, -overlay).
//
// Its figure is an estimate from a sample, and an equivalent change, which no
// test can notice, counts as a survivor. So it exits 0 however many survive, and
// 1 if it could not measure.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 20, "mutants per package")
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "chooses the mutants")
	flag.Parse()
	// The temporary files of a run go before the process does.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := 0
	fmt.Printf("seed %d, %d mutants per package\n", *seed, *n)
	for _, directory := range flag.Args() {
		if err := measure(ctx, os.Stdout, directory, *n, *seed); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", directory, err)
			status = 1
			break
		}
	}
	stop()
	os.Exit(status)
}

// measure tests n mutants of the package in directory and reports to w.
func measure(ctx context.Context, w io.Writer, directory string, n int, seed uint64) error {
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	p := &pkg{directory: directory, work: work}
	candidates, err := p.mutants(ctx)
	if err != nil {
		return err
	}
	if err := p.baseline(ctx); err != nil {
		return err
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(candidates), func(i, j int) {
		candidates[i], candidates[j] = candidates[j], candidates[i]
	})
	var tested, killed, slow int
	for _, m := range candidates {
		if tested == n {
			break
		}
		fate, err := p.try(ctx, m)
		if err != nil {
			return err
		}
		if fate == unbuilt {
			continue
		}
		tested++
		switch fate {
		case survived:
			fmt.Fprintf(w, "survived %s:%d %s: %s\n", m.file, m.line, m.change, firstLine(m.was))
		case timedOut:
			slow++
			killed++
		case failed:
			killed++
		}
	}
	if tested == 0 {
		return errors.New("no change compiles")
	}
	fmt.Fprintf(w, "%s: %d of %d killed (%d %%), %d of them by the timeout of %s\n",
		directory, killed, tested, 100*killed/tested, slow, p.timeout)
	return nil
}

func firstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if more {
		line += " …"
	}
	return line
}

// fate is what became of a mutant.
type fate int

const (
	unbuilt fate = iota // it does not compile, and counts for nothing
	survived
	failed
	timedOut
)

// pkg is a package under measurement, with its own tests.
type pkg struct {
	directory, work string
	timeout         time.Duration // of the tests of one mutant
}

// mutants are all changes to the files that are built here.
func (p *pkg) mutants(ctx context.Context) ([]mutant, error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", `{{join .GoFiles "\n"}}`, ".")
	list.Dir, list.Stderr = p.directory, os.Stderr
	names, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []mutant
	for name := range strings.FieldsSeq(string(names)) {
		path := filepath.Join(p.directory, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		some, err := mutantsOf(path, source)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// baseline runs the tests without a change: they have to pass, and how long they
// take bounds those of the mutants.
func (p *pkg) baseline(ctx context.Context) error {
	p.timeout = 10 * time.Minute
	if out, err := p.build(ctx, nil); err != nil {
		return fmt.Errorf("the tests do not build: %w\n%s", err, out)
	}
	began := time.Now()
	if f, out, err := p.test(ctx); err != nil || f != survived {
		return errors.Join(fmt.Errorf("the tests fail without any change:\n%s", out), err)
	}
	p.timeout = (3*time.Since(began) + 10*time.Second).Round(time.Second)
	return nil
}

// try builds and tests m.
func (p *pkg) try(ctx context.Context, m mutant) (fate, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return 0, err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return 0, err
	}
	changed := filepath.Join(p.work, "mutant.go")
	if err := os.WriteFile(changed, m.apply(source), 0o600); err != nil {
		return 0, err
	}
	if _, err := p.build(ctx, map[string]string{original: changed}); err != nil {
		return unbuilt, ctx.Err()
	}
	f, _, err := p.test(ctx)
	return f, err
}

// build builds the package's tests with other files in the place of some.
func (p *pkg) build(ctx context.Context, replace map[string]string) ([]byte, error) {
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(p.work, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return nil, err
	}
	// Without vet: it objects to changes that compile.
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", path, "-o", p.binary(), ".")
	cmd.Dir = p.directory
	return cmd.CombinedOutput()
}

func (p *pkg) binary() string { return filepath.Join(p.work, "mutant.test") }

// test runs what was built, where go test would.
func (p *pkg) test(ctx context.Context) (fate, []byte, error) {
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(limited, p.binary(), "-test.failfast")
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.directory, &out, &out
	// The processes that a test has started end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, nil, ctx.Err()
	case limited.Err() != nil:
		return timedOut, out.Bytes(), nil
	case err == nil:
		return survived, out.Bytes(), nil
	case errors.As(err, &exit):
		return failed, out.Bytes(), nil
	default:
		return 0, nil, err
	}
}
