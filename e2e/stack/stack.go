// Package stack starts the real thing for end-to-end tests: the handler as a
// process of its own, once or several times, the simulated tenant, Azurite, and
// a browser that signs in.
package stack

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/dev/tenant"
	"entramcp/handler/store/storetest"
)

// Options say what to start.
type Options struct {
	// Instances of the handler on one Azurite; 0 is one instance on the
	// embedded store.
	Instances int
	// Azure runs the instances under the emulated Functions host; two, if
	// Instances is 0.
	Azure *Azure
	// Env overrides and adds settings of the handler.
	Env map[string]string
	// Tables, if set, is used instead of Azurite's own connection string, for
	// tests that put something between the handler and its tables.
	Tables string
	// Path is that of the public URL, which then is a gateway's: it passes on
	// what begins with Path, without it if Strips is set, and the metadata at
	// the root of the host that names it. Everything else is a 404.
	Path   string
	Strips bool
	// Between, if set, stands between everyone and the tenant.
	Between func(tenant http.Handler) http.Handler
	// Via, if set, is told the address that the tenant listens on and returns
	// the one that everyone calls instead, for tests that put a network
	// between the two.
	Via func(listens string) (called string)
}

// Stack is a running server with all that it needs.
type Stack struct {
	// URL is the public one: its requests go to the instances in turn.
	URL       string
	Tenant    *tenant.Tenant
	TenantURL string
	Instances []*Instance
	// FrontEnd and Hosts are there instead of Instances with Options.Azure.
	FrontEnd *funchost.FrontEnd
	Hosts    []*funchost.Host
	// Certificate is a PEM file that clients must trust, or empty.
	Certificate string
	// DataDir holds the embedded store of a single instance.
	DataDir string

	gateway   Options // its Path and Strips
	next      atomic.Uint64
	env       map[string]string
	transport *http.Transport
	tb        testing.TB
}

// readyWithin is how long a server may take to start.
const readyWithin = 30 * time.Second

// MCP is the URL of the MCP endpoint.
func (s *Stack) MCP() string { return s.URL + "/mcp" }

// Start starts a stack and ends it with the test.
func Start(tb testing.TB, o Options) *Stack {
	tb.Helper()
	s := &Stack{tb: tb, DataDir: tb.TempDir()}

	front := httptest.NewUnstartedServer(http.HandlerFunc(s.forward))
	s.URL = "http://localhost:" + portOf(front.Listener.Addr()) + o.Path
	s.gateway = o
	if o.Azure != nil {
		s.URL = "https://localhost:" + portOf(front.Listener.Addr())
		s.FrontEnd = &funchost.FrontEnd{Hostname: SiteHost}
		front.Config.Handler = s.FrontEnd
		o.Instances = cmp.Or(o.Instances, 2)
	}
	s.Tenant, s.TenantURL = startTenant(tb, s.URL, nil, o)
	s.env = settings(s.URL, s.TenantURL)
	if o.Instances == 0 {
		s.env["DATA_DIR"] = s.DataDir
		o.Instances = 1
	} else {
		s.env["MASTER_KEY"] = strings.Repeat("e2e-master-key-", 3)
		if s.env["TABLES_CONNECTION_STRING"] = o.Tables; o.Tables == "" {
			s.env["TABLES_CONNECTION_STRING"] = storetest.Azurite(tb)
		}
		s.env["TABLES_NAME"] = "e2e" + portOf(front.Listener.Addr())
	}
	maps.Copy(s.env, o.Env)
	if o.Azure != nil {
		s.secure(tb, front)
		front.StartTLS()
		tb.Cleanup(front.Close)
		s.startHosts(tb, o)
		return s
	}
	for range o.Instances {
		s.Instances = append(s.Instances, startInstance(tb, Binary, s.env))
	}
	front.Start()
	tb.Cleanup(front.Close)
	for _, i := range s.Instances {
		i.WaitReady()
	}
	return s
}

// settings are what every server under test has set.
func settings(publicURL, authority string) map[string]string {
	return map[string]string{
		"PUBLIC_URL":          publicURL,
		"ENTRA_AUTHORITY":     authority,
		"ENTRA_TENANT_ID":     TenantID,
		"ENTRA_CLIENT_ID":     ClientID,
		"ENTRA_CLIENT_SECRET": ClientSecret,
		"ENTRA_API_SCOPE":     APIScope,
		"LOG_LEVEL":           "debug",
	}
}

// Log is what all instances have written so far.
func (s *Stack) Log() string {
	var all strings.Builder
	for _, i := range s.Instances {
		all.WriteString(i.Log())
	}
	for _, h := range s.Hosts {
		fmt.Fprintln(&all, h.Log())
	}
	return all.String()
}

// Table is the name of the table that the instances share.
func (s *Stack) Table() string { return s.env["TABLES_NAME"] }

// forward is what stands in front of the instances.
func (s *Stack) forward(w http.ResponseWriter, r *http.Request) {
	// Otherwise the server here may take the end of the request's body from
	// the proxy once an instance begins to answer, which then cuts the answer.
	_ = http.NewResponseController(w).EnableFullDuplex()
	if s.gateway.Path != "" {
		below := r.URL.Path == s.gateway.Path || strings.HasPrefix(r.URL.Path, s.gateway.Path+"/")
		metadata := strings.HasPrefix(r.URL.Path, "/.well-known/") && strings.Contains(r.URL.Path, s.gateway.Path)
		if !below && !metadata {
			http.NotFound(w, r)
			return
		}
		if below && s.gateway.Strips {
			http.StripPrefix(s.gateway.Path, http.HandlerFunc(s.toInstance)).ServeHTTP(w, r)
			return
		}
	}
	s.toInstance(w, r)
}

// toInstance sends r to the next instance that is alive.
func (s *Stack) toInstance(w http.ResponseWriter, r *http.Request) {
	for range s.Instances {
		i := s.Instances[int(s.next.Add(1))%len(s.Instances)]
		if !i.Alive() {
			continue
		}
		target, _ := url.Parse(i.URL)
		proxy := &httputil.ReverseProxy{
			FlushInterval: -1,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(target)
				p.Out.Host = p.In.Host
			},
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		}
		proxy.ServeHTTP(w, r)
		return
	}
	http.Error(w, "no instance is alive", http.StatusBadGateway)
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// ready reports whether /readyz of the server at address answers that it is.
func ready(client *http.Client, address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
