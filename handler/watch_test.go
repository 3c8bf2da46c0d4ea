package handler_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
	"entramcp/handler/warnings"
)

// TestAWarningIsSaidOnceADayUntilItIsOver: however often the server looks.
func TestAWarningIsSaidOnceADayUntilItIsOver(t *testing.T) {
	now := time.Now()
	settings := map[string]string{
		"ENTRA_TENANT_ID": "contoso.onmicrosoft.com", "ENTRA_CLIENT_ID": "11111111-2222-3333-4444-555555555555", "ENTRA_CLIENT_SECRET": "not-a-secret",
		"ENTRA_CLIENT_SECRET_EXPIRES": now.AddDate(0, 0, 40).Format(time.DateOnly), "PUBLIC_URL": mcpIssuer,
	}
	cfg, err := config.Load(func(name string) string { return settings[name] })
	if err != nil {
		t.Fatal(err)
	}
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("0123456789abcdef", 4))})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := handler.New(cfg, handler.Dependencies{
		Table: storetest.Embedded(t), Wrapper: wrapper, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	said := map[warnings.Name]time.Time{}
	for _, step := range []struct {
		what   string
		passed time.Duration
		lines  int // about the secret, so far
	}{
		{"forty days before", 0, 0}, {"29 days before", 11 * 24 * time.Hour, 1}, {"an hour later", time.Hour, 1},
		{"a day later", 24 * time.Hour, 2}, {"forty days later", 40 * 24 * time.Hour, 3},
	} {
		now = now.Add(step.passed)
		handler.SayWarnings(s, said)
		if n := strings.Count(log.String(), "warning=secret_expires"); n != step.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", step.what, n, step.lines, &log)
		}
	}
	now = now.AddDate(0, 0, -80)
	handler.SayWarnings(s, said)
	if !strings.Contains(log.String(), "over=secret_expires") || len(said) != 0 {
		t.Errorf("it is over and %v stands:\n%s", said, &log)
	}
}
