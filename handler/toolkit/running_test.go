package toolkit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
)

// TestANotificationReachesTheCallsOfItsSignInAlone: a token that Entra issued has no
// grant, and there the sign-in is the user with the client.
func TestANotificationReachesTheCallsOfItsSignInAlone(t *testing.T) {
	ada := &grants.Access{Subject: "ada", ClientID: "one"}
	for name, tt := range map[string]struct {
		caller, canceller *grants.Access
		ends              bool
	}{
		"of the same":           {ada, &grants.Access{Subject: "ada", ClientID: "one"}, true},
		"another client":        {ada, &grants.Access{Subject: "ada", ClientID: "two"}, false},
		"another user":          {ada, &grants.Access{Subject: "bob", ClientID: "one"}, false},
		"the same grant":        {&grants.Access{GrantID: "g", Subject: "ada"}, &grants.Access{GrantID: "g", Subject: "ada"}, true},
		"another grant":         {&grants.Access{GrantID: "g", Subject: "ada"}, &grants.Access{GrantID: "h", Subject: "ada"}, false},
		"one with, one without": {&grants.Access{GrantID: "g", Subject: "ada", ClientID: "one"}, ada, false},
	} {
		var r running
		ctx, cancel := context.WithCancelCause(t.Context())
		remove := r.add(runKey(tt.caller), "1", cancel)
		r.cancel(runKey(tt.canceller), "1")
		if ended := context.Cause(ctx) != nil; ended != tt.ends {
			t.Errorf("%s: ended: %t", name, ended)
		}
		remove()
		if len(r.calls) != 0 {
			t.Errorf("%s: a call that is over is remembered", name)
		}
		cancel(nil)
	}
}

// TestACallThatIsOverLeavesNothingBehind, not even to those with the same id.
func TestACallThatIsOverLeavesNothingBehind(t *testing.T) {
	var r running
	first, cancelFirst := context.WithCancelCause(t.Context())
	second, cancelSecond := context.WithCancelCause(t.Context())
	defer cancelFirst(nil)
	defer cancelSecond(nil)
	over, last := r.add("g", "1", cancelFirst), r.add("g", "1", cancelSecond)
	r.cancel("g", "1")
	if first.Err() != nil || second.Err() != nil {
		t.Error("one of two was cancelled")
	}
	over()
	r.cancel("g", "1")
	if first.Err() != nil || second.Err() == nil {
		t.Error("the one that is left was not cancelled")
	}
	last()
	if len(r.calls) != 0 {
		t.Errorf("%d calls are remembered", len(r.calls))
	}
}

// TestACallIsRememberedWhileItRuns, whatever becomes of it.
func TestACallIsRememberedWhileItRuns(t *testing.T) {
	var s *Server
	var during int
	var ran context.Context
	count := func() int {
		s.running.mu.Lock()
		defer s.running.mu.Unlock()
		return len(s.running.calls)
	}
	s = New(Options{Catalogue: Catalogue{Tools: []Tool{Define("run", "Run.", func(ctx context.Context, _ *Caller, in struct {
		Fails bool `json:"fails,omitempty"`
	}) (string, error) {
		during, ran = count(), ctx
		if in.Fails {
			panic("it fails")
		}
		return "", nil
	})}}})
	h := auth.RequireBearerToken(func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
		return &auth.TokenInfo{Extra: map[string]any{grants.AccessKey: &grants.Access{GrantID: "g"}}}, nil
	}, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(mcphttp.Handler(s.Handler()))
	for _, arguments := range []string{`{}`, `{"fails":true}`} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run","arguments":`+arguments+`}}`))
		for name, value := range map[string]string{"Authorization": "Bearer t", "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-06-18"} {
			r.Header.Set(name, value)
		}
		during = 0
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if during != 1 || count() != 0 || ran.Err() == nil {
			t.Errorf("%s: %d calls while it ran, %d after it, its context ended: %v; %s", arguments, during, count(), ran.Err(), w.Body)
		}
	}
}
