package azuretable_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/storetest"
)

// proxy stands between a table and Azurite and does to requests what networks
// do to them.
type proxy struct {
	server   *httptest.Server
	upstream *url.URL
	fault    atomic.Pointer[fault]
	attempts atomic.Int32
}

// fault handles a request in the place of forward, which does its work and
// returns the answer.
type fault func(w http.ResponseWriter, forward func() *http.Response)

// loseAnswer breaks the connection after the service has done its work.
func loseAnswer(_ http.ResponseWriter, forward func() *http.Response) {
	_ = forward().Body.Close()
	panic(http.ErrAbortHandler)
}

func answer(status int, header ...string) fault {
	return func(w http.ResponseWriter, _ func() *http.Response) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{upstream: endpoint(t, storetest.Azurite(t))}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	return p
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.attempts.Add(1)
	forward := func() *http.Response {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Scheme, out.URL.Host = "", p.upstream.Scheme, p.upstream.Host
		res, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return res
	}
	if f := p.fault.Load(); f != nil {
		(*f)(w, forward)
		return
	}
	pass(w, forward())
}

func pass(w http.ResponseWriter, res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

// during calls do while the fault lasts and returns the requests it made.
func (p *proxy) during(f fault, do func()) int32 {
	p.attempts.Store(0)
	p.fault.Store(&f)
	do()
	p.fault.Store(nil)
	return p.attempts.Load()
}

// open returns a table of that name behind the proxy.
func (p *proxy) open(t *testing.T, name string, try time.Duration) *azuretable.Table {
	t.Helper()
	direct := storetest.Azurite(t)
	through := strings.ReplaceAll(direct, p.upstream.Host, strings.TrimPrefix(p.server.URL, "http://"))
	table, err := azuretable.NewImpatient(azuretable.Options{
		ConnectionString: connection(through),
		Name:             name,
	}, try)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.CreateIfMissing(t.Context()); err != nil {
		t.Fatal(err)
	}
	return table
}

func endpoint(t *testing.T, connectionString string) *url.URL {
	t.Helper()
	_, text, _ := strings.Cut(connectionString, "TableEndpoint=")
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
