// Package logtest is the log of tests.
package logtest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Log is what was logged, or what a process wrote, to be read while it goes on. The
// zero Log is empty.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Reset empties the log.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// Text is a logger of lines of text, for levels from Info on.
func (l *Log) Text() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// JSON is a logger of lines of JSON, for levels from Info on.
func (l *Log) JSON() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// Lines are the lines of a log in JSON.
func (l *Log) Lines(tb testing.TB) (lines []map[string]any) {
	tb.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			tb.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}
