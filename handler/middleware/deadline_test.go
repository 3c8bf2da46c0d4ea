package middleware

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

func dial(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTrickledBodyIsCutOff(t *testing.T) {
	read := make(chan error, 2)
	server := httptest.NewServer(BodyDeadline(200*time.Millisecond, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})))
	defer server.Close()
	conn := dial(t, server)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	await := func() error {
		t.Helper()
		select {
		case err := <-read:
			return err
		case <-ctx.Done():
			t.Fatal("the body is still waited for")
			return nil
		}
	}
	// A request that is whole, then one whose body never ends.
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	if err := await(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the first one's deadline passes
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
	if err := await(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a deadline", err)
	}
}

// TestBodiesThatNeverComeHoldNoConnection: whatever the route does, and whether
// it reads the body or not.
func TestBodiesThatNeverComeHoldNoConnection(t *testing.T) {
	const each = 50
	for name, route := range map[string]http.HandlerFunc{
		"read":           func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"not read":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up") },
		"refused":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) },
		"read in part":   func(_ http.ResponseWriter, r *http.Request) { _, _ = r.Body.Read(make([]byte, 1)) },
		"does not exist": http.NotFound,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(BodyDeadline(300*time.Millisecond, route))
			defer server.Close()
			var wg sync.WaitGroup
			for range each {
				conn := dial(t, server)
				fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nx")
				_ = conn.SetReadDeadline(time.Now().Add(8 * time.Second))
				wg.Go(func() {
					if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection is still open")
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestAnAnswerMayOutlastTheBodyDeadline: the deadline is the body's, not the
// answer's.
func TestAnAnswerMayOutlastTheBodyDeadline(t *testing.T) {
	server := httptest.NewServer(BodyDeadline(100*time.Millisecond, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
		case <-time.After(400 * time.Millisecond):
			_, _ = io.WriteString(w, "late")
		}
	})))
	defer server.Close()
	conn := dial(t, server)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "late" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	refused := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	server := httptest.NewServer(BodyDeadline(time.Minute, http.HandlerFunc(refused)))
	defer server.Close()
	for body, closed := range map[string]bool{"x": false, "": true} {
		conn := dial(t, server)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"+body)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("body %q: %v", body, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized || res.Close != closed {
			t.Errorf("body %q: status %d, connection closed %v, want %v", body, res.StatusCode, res.Close, closed)
		}
	}
}

func TestEveryAnswerForbidsGuessingItsTypeAndKeepsToHTTPS(t *testing.T) {
	for secure, want := range map[bool]string{true: "max-age=31536000", false: ""} {
		w := httptest.NewRecorder()
		Headers(secure, http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Strict-Transport-Security"); got != want {
			t.Errorf("secure %v: Strict-Transport-Security %q", secure, got)
		}
		if got := w.Header().Values("X-Content-Type-Options"); len(got) != 1 || got[0] != "nosniff" {
			t.Errorf("X-Content-Type-Options %v", got)
		}
	}
}
