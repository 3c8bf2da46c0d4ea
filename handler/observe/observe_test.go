package observe

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func serve(t *testing.T, hosted bool, header http.Header, h http.HandlerFunc) (w *httptest.ResponseRecorder, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	log := NewLogger(LogOptions{Out: &o, Errs: &e, Level: slog.LevelDebug})
	r := httptest.NewRequest(http.MethodGet, "/auth/callback?code=very-secret&state=st", nil)
	r.Header = header
	w = httptest.NewRecorder()
	Correlate(log, CorrelateOptions{Hosted: hosted}, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log.WarnContext(r.Context(), "something odd")
			h(w, r)
		})
	}()).ServeHTTP(w, r)
	return w, o.String(), e.String()
}

func TestEveryLineOfARequestCarriesItsID(t *testing.T) {
	host := http.Header{"X-Ms-Invocation-Id": {"0f8fad5b-d9cb-469f-a165-70867728950e"},
		"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}
	w, out, errs := serve(t, true, host, func(http.ResponseWriter, *http.Request) {})
	for _, line := range []string{out, errs} {
		if !strings.Contains(line, `"correlation_id":"0f8fad5b-d9cb-469f-a165-70867728950e"`) || !strings.Contains(line, `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`) {
			t.Errorf("line without the ids: %s", line)
		}
	}
	if w.Header().Get(CorrelationHeader) != "0f8fad5b-d9cb-469f-a165-70867728950e" {
		t.Error("the answer does not carry the id")
	}
	if strings.Contains(out+errs, "very-secret") {
		t.Error("the query was logged")
	}
}

func TestAClientCannotChooseTheCorrelationID(t *testing.T) {
	chosen := http.Header{"X-Ms-Invocation-Id": {"chosen-by-the-client"}}
	w, _, _ := serve(t, false, chosen, func(http.ResponseWriter, *http.Request) {})
	if id := w.Header().Get(CorrelationHeader); id == "" || id == "chosen-by-the-client" {
		t.Errorf("correlation id %q", id)
	}
}

func TestSeverityFollowsTheStream(t *testing.T) {
	_, out, errs := serve(t, false, nil, func(http.ResponseWriter, *http.Request) {})
	if strings.Contains(out, "something odd") || !strings.Contains(errs, "something odd") || !strings.Contains(out, `"msg":"request"`) {
		t.Errorf("stdout:\n%s\nstderr:\n%s", out, errs)
	}
}

func TestAPanicIsOneAnswerAndNotTheEnd(t *testing.T) {
	w, _, errs := serve(t, false, nil, func(http.ResponseWriter, *http.Request) { panic("boom") })
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "boom") || !strings.Contains(errs, "boom") {
		t.Errorf("%d %s; log %s", w.Code, w.Body, errs)
	}
}

// TestAPanicInAnAnswerBreaksTheConnection: an answer that has begun must not
// look complete.
func TestAPanicInAnAnswerBreaksTheConnection(t *testing.T) {
	var log bytes.Buffer
	server := httptest.NewServer(Correlate(NewLogger(LogOptions{Out: &log, Errs: &log, Level: slog.LevelInfo}), CorrelateOptions{},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("the first half"))
			panic("boom")
		})))
	res, err := server.Client().Get(server.URL)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	server.Close()
	if err == nil {
		t.Error("half an answer was taken for a whole one")
	}
	if !strings.Contains(log.String(), `"value":"boom"`) {
		t.Errorf("the panic is not in the log: %s", log.String())
	}
}
