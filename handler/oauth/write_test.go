package oauth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func written(ctx context.Context, err error) (*httptest.ResponseRecorder, string) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequest(http.MethodPost, "/token", nil).WithContext(ctx), log, err)
	return w, lines.String()
}

func TestEveryDescriptionThatIsSentIsASCII(t *testing.T) {
	w, line := written(t.Context(), New(InvalidClientMetadata, "See RFC 7591 §2: “jwks”\u202e."))
	if got := w.Body.String(); got != `{"error":"invalid_client_metadata","error_description":"See RFC 7591 section 2: 'jwks'."}`+"\n" {
		t.Error(got)
	}
	if strings.Contains(line, "\u202e") || strings.Contains(line, "§") {
		t.Error(line)
	}
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", w.Header())
	}
}

// What is flushed early goes out in chunks without its length, and what cannot be
// encoded must not go out as a success.
func TestAnAnswerIsWholeOrAFault(t *testing.T) {
	for name, tt := range map[string]struct {
		v      any
		status int
		body   string
	}{
		"an object":   {map[string]int{"a": 1}, http.StatusOK, `{"a":1}` + "\n"},
		"not encoded": {func() {}, http.StatusInternalServerError, `{"error":"server_error"}` + "\n"},
	} {
		w := httptest.NewRecorder()
		WriteJSON(w, http.StatusOK, tt.v)
		if w.Code != tt.status || w.Body.String() != tt.body || w.Header().Get("Content-Length") != strconv.Itoa(len(tt.body)) {
			t.Errorf("%s: %d %v %q", name, w.Code, w.Header(), w.Body)
		}
	}
}

func TestNoErrorCodeWhereNoCredentialsWereSent(t *testing.T) {
	w, _ := written(t.Context(), New(NoCredentials, "An access token is needed."))
	if w.Code != http.StatusUnauthorized || w.Body.String() != `{"error_description":"An access token is needed."}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A client that hangs up makes calls fail, but nothing is wrong with the server.
func TestAClientThatHangsUpIsNoError(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for name, tt := range map[string]struct {
		ctx   context.Context
		err   error
		level string
	}{
		"the client hung up":     {gone, Unavailable("Storage does not answer.", time.Second, context.Canceled), "level=DEBUG"},
		"our deadline":           {late, Unavailable("Storage does not answer.", time.Second, context.DeadlineExceeded), "level=ERROR"},
		"storage is down":        {t.Context(), Unavailable("Storage does not answer.", time.Second, errors.New("reset")), "level=ERROR"},
		"a mistake of ours":      {t.Context(), errors.New("bug"), "level=ERROR"},
		"the client's own fault": {t.Context(), New(InvalidGrant, "No."), "level=INFO"},
	} {
		if _, line := written(tt.ctx, tt.err); !strings.Contains(line, tt.level) {
			t.Errorf("%s: %s", name, line)
		}
	}
}
