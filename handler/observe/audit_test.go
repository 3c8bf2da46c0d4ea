package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func full(name EventName) Event {
	return Event{
		Name: name, Client: AuditClient{ID: "c-1", Name: "Claude", Host: "claude.ai"}, AuthorizationID: "f-1", Grant: "g-1",
		Subject: "5ab1ec7", Tenant: "t-1", ObjectID: "o-1", Scopes: []string{"openid", "profile"},
		Tool: "hello_world", Target: "client c-1", Reason: "AADSTS50057", Took: 12 * time.Millisecond,
	}
}

func TestAnAuditEventIsOneLineOfItsOwnCategory(t *testing.T) {
	for _, objectIDs := range []bool{false, true} {
		var out bytes.Buffer
		log := NewLogger(LogOptions{Out: &out, Errs: &out, Level: slog.LevelError, ObjectIDs: objectIDs}).With("a", "b")
		Audit(t.Context(), log, full(TokenRefreshed))
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		delete(got, "time")
		want := map[string]any{
			"level": "INFO", "msg": "audit", "category": "audit", "schema": 1.0, "event": "token_refreshed", "a": "b",
			"client_id": "c-1", "client_name": "Claude", "client_host": "claude.ai", "flow": "f-1", "grant_id": "g-1",
			"subject": "5ab1ec7", "tenant": "t-1", "scopes": []any{"openid", "profile"},
			"tool": "hello_world", "target": "client c-1", "reason": "AADSTS50057", "took_ms": 12.0,
		}
		if objectIDs {
			want["object_id"] = "o-1"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReuseIsAWarning(t *testing.T) {
	for _, name := range []EventName{CodeReused, TokenReused} {
		var out, errs bytes.Buffer
		Audit(t.Context(), NewLogger(LogOptions{Out: &out, Errs: &errs, Level: slog.LevelInfo}), full(name))
		if out.Len() > 0 || !strings.Contains(errs.String(), `"level":"WARN"`) {
			t.Errorf("%s: stdout %q, stderr %q", name, out.String(), errs.String())
		}
	}
}

func TestWhatAClientCallsItselfCannotDisturbTheAudit(t *testing.T) {
	var out bytes.Buffer
	e := Event{Name: ConsentShown, Client: AuditClient{ID: strings.Repeat("x", 5000), Name: "a\u202eb\x1b[2Jc\n\u0085d"}}
	Audit(t.Context(), NewLogger(LogOptions{Out: &out, Errs: &out, Level: slog.LevelInfo}), e)
	if out.Len() > 600 || !strings.Contains(out.String(), `"client_name":"ab[2Jcd"`) {
		t.Errorf("%d bytes: %.300s", out.Len(), out.String())
	}
}

// flood sends n requests from as many addresses as there are, and serves each
// with h.
func flood(log *slog.Logger, n int, addresses int, h http.HandlerFunc) {
	served := Correlate(log, CorrelateOptions{}, h)
	for i := range n {
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.RemoteAddr = fmt.Sprintf("192.0.%d.%d:1", i%addresses/250, i%addresses%250)
		served.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	const requests = 20_000
	for _, addresses := range []int{1, 1000} {
		t.Run(fmt.Sprint(addresses), func(t *testing.T) {
			now := time.Unix(1000, 0)
			var out bytes.Buffer
			log := NewLogger(LogOptions{Out: &out, Errs: &out, Level: slog.LevelInfo, Now: func() time.Time { return now }})
			flood(log, requests, addresses, func(_ http.ResponseWriter, r *http.Request) {
				log.InfoContext(r.Context(), "refused")
				log.ErrorContext(r.Context(), "storage is away")
				Audit(r.Context(), log, Event{Name: ConsentShown})
			})
			most := 3 * min(addresses*linesEach.Burst, linesTotal.Burst)
			lines := strings.Count(out.String(), "\n")
			if lines > most || lines < most/2 { // few networks do not get all there is
				t.Errorf("%d lines for %d requests, want at most %d", lines, requests, most)
			}
			now = now.Add(reportEvery)
			out.Reset()
			log.Info("anything")
			left := requests - lines/3
			want := `"msg":"log lines omitted","since":"1970-01-01T00:16:40Z","counts":{`
			if !strings.Contains(out.String(), want) || strings.Count(out.String(), fmt.Sprintf(`":%d`, left)) != 3 {
				t.Errorf("no count of %d omitted lines in: %s", left, out.String())
			}
		})
	}
}

func TestAFloodLeavesTheRestOfTheLogAlone(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	log := NewLogger(LogOptions{Out: &out, Errs: &out, Level: slog.LevelInfo, Now: func() time.Time { return now }})
	flood(log, 10_000, 1, func(_ http.ResponseWriter, r *http.Request) { log.InfoContext(r.Context(), "refused") })
	for name, write := range map[string]http.HandlerFunc{
		"an honest client's refusal": func(_ http.ResponseWriter, r *http.Request) { log.InfoContext(r.Context(), "refused") },
		"another message":            func(_ http.ResponseWriter, r *http.Request) { log.InfoContext(r.Context(), "something else") },
		"an audit event":             func(_ http.ResponseWriter, r *http.Request) { Audit(r.Context(), log, Event{Name: ClientRegistered}) },
		"background work":            func(http.ResponseWriter, *http.Request) { log.Info("refused") },
	} {
		out.Reset()
		r := httptest.NewRequest("POST", "/mcp", nil)
		r.RemoteAddr = "198.51.100.1:1"
		Correlate(log, CorrelateOptions{}, write).ServeHTTP(httptest.NewRecorder(), r)
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s is not written: %q", name, out.String())
		}
	}
	out.Reset()
	flood(log, 1000, 1, func(_ http.ResponseWriter, r *http.Request) { Audit(r.Context(), log, full(ToolCalled)) })
	if lines := strings.Count(out.String(), "\n"); lines != 1000 {
		t.Errorf("%d of 1000 events about a signed-in user are written", lines)
	}
}
