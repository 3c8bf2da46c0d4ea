package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// watcher builds the handler again when one of its sources changes.
type watcher struct {
	root, binary string
	seen         time.Time // the newest source that was built
}

func newWatcher(root, binary string) *watcher {
	w := &watcher{root: root, binary: binary}
	w.seen = w.newest()
	return w
}

// next waits until a change was built, and reports false if ctx ended first. A
// change that does not compile is shown, and the handler that runs goes on.
func (w *watcher) next(ctx context.Context, c *console, stderr io.Writer) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(500 * time.Millisecond):
		}
		newest := w.newest()
		if !newest.After(w.seen) {
			continue
		}
		w.seen = newest
		c.say("build", "a source has changed")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", w.binary+".next", cmp.Or(os.Getenv("MAIN"), "."))
		build.Dir, build.Env = w.root, append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(stderr, "%sThe previous handler is still running.\n", text)
			continue
		}
		if err := os.Rename(w.binary+".next", w.binary); err != nil {
			fmt.Fprintln(stderr, err)
			continue
		}
		return true
	}
}

// sources are what is compiled into the handler, directly or embedded.
var sources = []string{".go", ".html", ".css", ".json", ".mod", ".sum"}

// newest is when a source last changed. Tests, and what only they or this
// program use, do not count.
func (w *watcher) newest() time.Time {
	var newest time.Time
	_ = filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil: // it has just gone
			return nil
		case d.IsDir() && path != w.root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "dev", "e2e", "bench", "infra", "docs", "testdata"}, d.Name())):
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains(sources, filepath.Ext(path)) || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		return nil
	})
	return newest
}
