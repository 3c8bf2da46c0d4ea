package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStoppingCutsNoRequest: 194 requests are under way when the process is told
// to stop, and connections are used again meanwhile; /readyz says no while the
// server still accepts.
func TestStoppingCutsNoRequest(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	const under = 144 + 50
	var entered sync.WaitGroup
	entered.Add(under)
	release := make(chan struct{})
	var drained atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		entered.Done()
		<-release
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request's context ended: %v", err)
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if drained.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serveUntil(ctx, listener, mux, func() { drained.Store(true) }, slog.New(slog.DiscardHandler))
	}()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: under}}
	defer client.CloseIdleConnections()
	var answered sync.WaitGroup
	for i := range under {
		answered.Go(func() {
			want := fmt.Sprintf("request %d", i)
			res, err := client.Post(url+"/slow", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Errorf("%s was cut: %v", want, err)
				return
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != want {
				t.Errorf("%s: got %q, %v", want, body, err)
			}
		})
	}
	entered.Wait()
	stop()
	deadline := time.Now().Add(drainTime / 2)
	for {
		res, err := client.Get(url + "/readyz")
		if err != nil {
			t.Fatalf("the server stopped accepting before /readyz said no: %v", err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusServiceUnavailable {
			if !res.Close {
				t.Error("clients are not asked to close their connections")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("/readyz does not say no")
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the server ended with requests under way: %v", err)
	case <-time.After(drainTime + 200*time.Millisecond):
	}
	close(release)
	answered.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
