package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// console turns the handler's log into what a person at a terminal wants to
// see: a line for each sign-in and call, and all warnings. What the handler
// says while it starts is held back until it is ready, and dropped then.
type console struct {
	mu      sync.Mutex
	out     io.Writer
	log     lines
	waiting bool
}

func newConsole(out io.Writer) *console {
	c := &console{out: out, waiting: true}
	c.log = lines{console: c, out: out}
	return c
}

// open prints the banner and, from then on, what happens.
func (c *console) open(banner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if banner != "" {
		fmt.Fprint(c.out, banner)
	}
	c.waiting = false
}

func (c *console) print(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.out, line)
}

func (c *console) say(what, text string) {
	c.print(fmt.Sprintf("  %s  %-9s %s", time.Now().Format(time.TimeOnly), what, text))
}

// Write takes the handler's log, in any portions.
func (c *console) Write(p []byte) (int, error) { return c.log.Write(p) }

// errors takes what the handler writes to its standard error, warnings above all.
func (c *console) errors(out io.Writer) io.Writer { return &lines{console: c, out: out} }

// lines writes the lines of a log as people read them.
type lines struct {
	console *console
	out     io.Writer
	partial []byte // the beginning of a line
}

func (l *lines) Write(p []byte) (int, error) {
	l.console.mu.Lock()
	defer l.console.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		if text := l.console.readable(line); text != "" {
			fmt.Fprintln(l.out, text)
		}
		l.partial = rest
	}
}

// words are what events of the audit are called here; others are left out.
var words = map[string]string{
	"consent_refused": "declined", "signed_in": "sign-in", "sign_in_failed": "failed", "refresh_refused": "signed out",
	"grant_revoked": "signed out", "disconnected": "signed out", "code_reused": "replay", "token_reused": "replay",
	"tool_called": "call", "tool_refused": "refused", "caller_refused": "refused", "block_enforced": "blocked", "client_registered": "client",
}

// readable is one line of the log for a person, or empty.
func (c *console) readable(line []byte) string {
	var entry map[string]any
	if json.Unmarshal(line, &entry) != nil {
		return string(line) // not a line of the log
	}
	text := func(name string) string { s, _ := entry[name].(string); return s }
	at := time.Now().Format(time.TimeOnly)
	if t, err := time.Parse(time.RFC3339Nano, text("time")); err == nil {
		at = t.Local().Format(time.TimeOnly)
	}
	level := text("level")
	switch {
	case text("category") == "audit":
		word := words[text("event")]
		if word == "" || c.waiting {
			return ""
		}
		if entry["client_name"] == nil && entry["client_id"] != nil { // an application by itself
			entry["client_name"] = entry["client_id"]
		}
		var parts []string
		for _, name := range []string{"tool", "client_name", "scopes", "reason"} {
			switch v := entry[name].(type) {
			case string:
				if name == "client_name" {
					v = "by " + v
				}
				parts = append(parts, v)
			case []any:
				parts = append(parts, "for "+strings.Trim(fmt.Sprint(v), "[]"))
			}
		}
		if took, ok := entry["took_ms"].(float64); ok {
			parts = append(parts, duration(took))
		}
		return fmt.Sprintf("  %s  %-9s %s", at, word, strings.Join(parts, "  "))
	case level == "WARN" || level == "ERROR":
		var rest strings.Builder
		fmt.Fprintf(&rest, "  %s  %-9s %s", at, map[string]string{"WARN": "warning", "ERROR": "error"}[level], text("msg"))
		for _, name := range slices.Sorted(maps.Keys(entry)) {
			if !slices.Contains([]string{"time", "level", "msg", "correlation_id"}, name) {
				value, _ := json.Marshal(entry[name])
				rest.WriteString(" " + name + "=" + string(value))
			}
		}
		return rest.String()
	}
	return ""
}

// duration says how many milliseconds something took.
func duration(ms float64) string {
	if ms < 1 {
		return "in less than 1 ms"
	}
	return fmt.Sprintf("in %.0f ms", ms)
}
