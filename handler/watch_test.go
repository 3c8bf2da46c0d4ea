package handler_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler"
	"entramcp/handler/warnings"
)

// TestAWarningIsSaidOnceADayUntilItIsOver: however often the server looks.
func TestAWarningIsSaidOnceADayUntilItIsOver(t *testing.T) {
	w := newEntraWorld(t, map[string]string{"ENTRA_CLIENT_SECRET_EXPIRES": time.Now().AddDate(0, 0, 40).Format(time.DateOnly)})
	var log bytes.Buffer
	w.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := w.another()
	said := map[warnings.Name]time.Time{}
	for _, step := range []struct {
		what   string
		passed time.Duration
		lines  int // about the secret, so far
	}{
		{"forty days before", 0, 0}, {"29 days before", 11 * 24 * time.Hour, 1}, {"an hour later", time.Hour, 1},
		{"a day later", 24 * time.Hour, 2}, {"forty days later", 40 * 24 * time.Hour, 3},
	} {
		w.clock.Advance(step.passed)
		handler.SayWarnings(s, said)
		if n := strings.Count(log.String(), "warning=secret_expires"); n != step.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", step.what, n, step.lines, &log)
		}
	}
	w.clock.Advance(-80 * 24 * time.Hour)
	handler.SayWarnings(s, said)
	if !strings.Contains(log.String(), "over=secret_expires") || len(said) != 0 {
		t.Errorf("it is over and %v stands:\n%s", said, &log)
	}
}
