package warnings

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entramcp/handler/logtest"
)

// TestAWarningIsLoggedOnceADayUntilItIsOver: however often the server looks.
func TestAWarningIsLoggedOnceADayUntilItIsOver(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	ends := now.AddDate(0, 0, 40)
	var log logtest.Log
	r := Reporter{
		Current: func(context.Context) []Warning { return Of(Facts{Now: now, SecretEnds: ends}) },
		Now:     func() time.Time { return now },
		Log:     log.Text(),
	}
	for _, step := range []struct {
		what            string
		passed          time.Duration
		warnings, overs int // so far
	}{
		{"forty days before", 0, 0, 0},
		{"29 days before", 11 * 24 * time.Hour, 1, 0},
		{"an hour later", time.Hour, 1, 0},
		{"a day later", 24 * time.Hour, 2, 0},
		{"forty days later", 40 * 24 * time.Hour, 3, 0},
		{"with a new secret", -80 * 24 * time.Hour, 3, 1},
		{"an hour after that", time.Hour, 3, 1},
		{"29 days before the end of the new one", 50 * 24 * time.Hour, 4, 1},
	} {
		now = now.Add(step.passed)
		r.Report(t.Context())
		warned, over := strings.Count(log.String(), "warning=secret_expires"), strings.Count(log.String(), "over=secret_expires")
		if warned != step.warnings || over != step.overs {
			t.Errorf("%s: %d warnings and %d ends, want %d and %d:\n%s", step.what, warned, over, step.warnings, step.overs, &log)
		}
	}
}

func TestTheReporterLooksAtOnceAndEachMinuteUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		r := Reporter{
			Current: func(context.Context) []Warning { looks++; return nil },
			Now:     time.Now, Log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		r.Run(ctx)
		if looks != 3 {
			t.Errorf("%d looks in two and a half minutes, want 3", looks)
		}
	})
}
