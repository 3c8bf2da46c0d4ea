package toolkit_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

// post sends one JSON-RPC message as a client of 2025-11-25 does.
func post(t *testing.T, ctx context.Context, url, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	asClient(req)
	return http.DefaultClient.Do(req)
}

// asClient gives r the headers that a client of 2025-11-25 sends.
func asClient(r *http.Request) {
	for name, value := range map[string]string{
		"Authorization": "Bearer token", "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-11-25",
	} {
		r.Header.Set(name, value)
	}
}

// waiting serves a tool that goes on until its context or the test ends.
func waiting(t *testing.T, users ...toolkittest.User) (urls []string, started chan struct{}, ended chan error) {
	started, ended = make(chan struct{}, 8), make(chan error, 8)
	over := make(chan struct{})
	urls = toolkittest.Serve(t, offering(toolkit.Define("wait", "Wait.", func(ctx context.Context, _ *toolkit.Caller, _ struct{}) (string, error) {
		started <- struct{}{}
		select {
		case <-ctx.Done():
			ended <- context.Cause(ctx)
		case <-over:
			ended <- nil
		}
		return "", ctx.Err()
	})), users...)
	t.Cleanup(func() { close(over) }) // before the servers wait for their requests
	return urls, started, ended
}

const callWait = `{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"wait","arguments":{}}}`

func cancelled(id string) string {
	return `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
}

// TestANotificationCancelsTheOneCallThatMatches: of the same sign-in, with the same id, as
// it was written.
func TestANotificationCancelsTheOneCallThatMatches(t *testing.T) {
	for name, test := range map[string]struct {
		calls  []string // ids of the calls that run
		cancel string   // the id that is cancelled
		other  bool     // by another user
		ends   bool
	}{
		"number":           {[]string{"7"}, "7", false, true},
		"text":             {[]string{`"a"`}, `"a"`, false, true},
		"another id":       {[]string{"7"}, "8", false, false},
		"number and text":  {[]string{"7"}, `"7"`, false, false},
		"another user":     {[]string{"7"}, "7", true, false},
		"two with that id": {[]string{"7", "7"}, "7", false, false},
		"one of two":       {[]string{"7", "8"}, "8", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			server, started, ended := waiting(t, toolkittest.User{}, bob)
			for _, id := range test.calls {
				go func() {
					if resp, err := post(t, t.Context(), server[0], fmt.Sprintf(callWait, id)); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}()
				<-started
			}
			// No notification: a request that has the member of one cancels nothing.
			if resp, err := post(t, t.Context(), server[0], `{"jsonrpc":"2.0","id":9,"method":"ping","params":{"requestId":`+test.cancel+`}}`); err != nil {
				t.Fatal(err)
			} else {
				_ = resp.Body.Close()
			}
			url := server[0]
			if test.other {
				url = server[1]
			}
			select {
			case cause := <-ended:
				t.Fatalf("the call ended before it was cancelled: %v", cause)
			default:
			}
			resp, err := post(t, t.Context(), url, cancelled(test.cancel))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				t.Errorf("answered %s", resp.Status)
			}
			select {
			case cause := <-ended:
				if !test.ends || cause == nil || !strings.Contains(cause.Error(), "cancelled") {
					t.Errorf("the call ended: %v", cause)
				}
			case <-time.After(map[bool]time.Duration{true: 10 * time.Second, false: 100 * time.Millisecond}[test.ends]):
				if test.ends {
					t.Error("the call goes on")
				}
			}
		})
	}
}

// TestADisconnectIsNoCancellationInEarlierRevisions (2025-11-25, "Transports"); in
// 2026-07-28 it is: TestCancelledRequestStopsTheTool.
func TestADisconnectIsNoCancellationInEarlierRevisions(t *testing.T) {
	server, started, ended := waiting(t, toolkittest.User{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if resp, err := post(t, ctx, server[0], fmt.Sprintf(callWait, "7")); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-started
	cancel()
	select {
	case cause := <-ended:
		t.Errorf("the call ended: %v", cause)
	case <-time.After(200 * time.Millisecond):
	}
}
