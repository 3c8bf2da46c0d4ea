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

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"entramcp/handler/store/storetest"
)

// network is what lies between an instance and something it depends on.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
	// address is where the network begins.
	address string
}

// networkTo is a network without faults that ends at upstream.
func networkTo(t *testing.T, upstream string) *network {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t, proxy: toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", upstream)}
	if err := n.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.proxy.Stop)
	n.address = n.proxy.Listen
	return n
}

// The faults of a network. A stall of no set length is longer than any.
const (
	requestsReset = `{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`
	answersReset  = `{"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`
	stalled       = `{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`
)

func (n *network) fault(toxic string) {
	n.t.Helper()
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) heal() { n.proxy.Toxics.ResetToxics(n.t.Context()) }

// storage is Azurite, which can be told to answer 503, behind a network.
type storage struct {
	*network
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
	s.network = networkTo(t, u.Host)
	s.connection = strings.Replace(connection, azurite.Host, s.address, 1)
	return s
}
