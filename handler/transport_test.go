package handler_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"entramcp/handler"
)

// TestConnectionsToEntraAreUsedAgain: requests that overlap find the connections of
// those before them.
func TestConnectionsToEntraAreUsedAgain(t *testing.T) {
	const together = 16
	var opened atomic.Int64
	var held sync.WaitGroup // until all are there
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		held.Done()
		held.Wait()
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := handler.DefaultHTTPClient()
	defer client.CloseIdleConnections()
	for range 3 {
		held.Add(together)
		var wg sync.WaitGroup
		for range together {
			wg.Go(func() {
				res, err := client.Get(server.URL)
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Body.Close()
			})
		}
		wg.Wait()
	}
	if n := opened.Load(); n > together {
		t.Errorf("%d connections for %d requests at a time", n, together)
	}
}
