package resilience

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"entramcp/e2e/stack/faultproxy"
	"entramcp/handler/store/storetest"
)

// storage is Azurite, which can be told to answer 503, behind a network.
type storage struct {
	*faultproxy.Proxy
	busy       atomic.Bool
	connection string
}

func startStorage(t *testing.T) *storage {
	t.Helper()
	connection, azurite := endpoint(t, storetest.Azurite(t))
	s := &storage{}
	proxy := httputil.NewSingleHostReverseProxy(azurite)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.busy.Load() {
			w.Header().Set("Content-Type", "application/json;odata=minimalmetadata")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"odata.error":{"code":"ServerBusy","message":{"lang":"en-US","value":"The server is busy."}}}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Proxy = faultproxy.Start(t, u.Host)
	s.connection = strings.Replace(connection, azurite.Host, s.Address, 1)
	return s
}
