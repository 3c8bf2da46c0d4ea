package bench

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/handler/oauth"
)

// flood is a request that anybody can send, again and again.
type flood struct {
	name    string
	request string // with one %s for the sender's address
}

const form = "application/x-www-form-urlencoded"

// floods are one for each way in that needs no sign-in. Host is the server's.
func floods(host, client string) []flood {
	get := func(path string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nX-Forwarded-For: %%s\r\n\r\n", strings.ReplaceAll(path, "%", "%%"), host)
	}
	post := func(path, contentType, body string, headers ...string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nX-Forwarded-For: %%s\r\n%s\r\n%s",
			path, host, contentType, len(body), strings.Join(headers, ""), strings.ReplaceAll(body, "%", "%%"))
	}
	encoded := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	// Three parts of base64url, as an assertion has, signed by nobody.
	assertion := "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJjIn0." + strings.Repeat("A", 342)
	authorize := func(clientID, redirectURI string) string {
		return "/authorize?" + encoded("response_type", "code", "client_id", clientID, "redirect_uri", redirectURI, "state", "s",
			"code_challenge", oauth.S256(oauth.NewVerifier()), "code_challenge_method", "S256")
	}
	return []flood{
		{"calls without a token", post("/mcp", "application/json", list)},
		{"calls with a made-up token", post("/mcp", "application/json", list,
			"Authorization: Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ.e30."+strings.Repeat("A", 43)+"\r\n")},
		{"registrations", post("/register", "application/json", `{"redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"none"}`)},
		{"authorizations of a known client", get(authorize(client, back))},
		{"authorizations of unknown clients", get(authorize("unknown", "https://a.example/cb"))},
		{"authorizations by a made-up document", get(authorize("https://a.invalid/c", "https://a.invalid/cb"))},
		{"consent to nothing", post("/consent", form, encoded("form", strings.Repeat("A", 400), "decision", "approve"))},
		{"made-up callbacks", get("/auth/callback?state=x&error=access_denied")},
		{"made-up codes", post("/token", form, encoded("grant_type", "authorization_code", "client_id", client, "code", strings.Repeat("A", 150), "redirect_uri", back, "code_verifier", oauth.NewVerifier()))},
		{"made-up refresh tokens", post("/token", form, encoded("grant_type", "refresh_token", "client_id", client, "refresh_token", strings.Repeat("A", 150)))},
		{"made-up assertions", post("/token", form, encoded("grant_type", "refresh_token", "refresh_token", "x", "client_id", "https://a.invalid/c",
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion))},
		{"metadata", get("/.well-known/oauth-authorization-server")},
		{"readiness", get("/readyz")},
		{"the page at the root", get("/")},
		{"paths that do not exist", get("/wp-login.php")},
	}
}

// strangers send a flood over connections.
type strangers struct {
	address string
	request string
	// networks has each request come from a network of its own, and else all
	// from one address.
	networks bool
	// reconnect has each request on a connection of its own.
	reconnect bool
}

// run floods until stop is closed, and returns how many answers came.
func (s strangers) run(connections int, stop <-chan struct{}) int64 {
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			var conn net.Conn
			in := make([]byte, 64<<10)
			for {
				select {
				case <-stop:
					if conn != nil {
						_ = conn.Close()
					}
					return
				default:
				}
				if conn == nil {
					var err error
					if conn, err = net.DialTimeout("tcp", s.address, 5*time.Second); err != nil {
						conn = nil
						time.Sleep(10 * time.Millisecond)
						continue
					}
				}
				from := "198.51.100.9"
				if s.networks {
					n := rand.Uint32()
					from = netip.AddrFrom4([4]byte{byte(n), byte(n >> 8), byte(n >> 16), 1}).String()
				}
				_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
				_, err := fmt.Fprintf(conn, s.request, from)
				if err == nil {
					// An answer is one write of the server's. It is not parsed, so
					// that a flood costs its sender less.
					_, err = conn.Read(in)
				}
				if err == nil {
					answered.Add(1)
				}
				if err != nil || s.reconnect {
					_ = conn.Close()
					conn = nil
				}
			}
		})
	}
	wg.Wait()
	return answered.Load()
}

// settle is how long a flood lasts before the caller is measured beside it. By then
// the burst that the budgets allow at first has been served.
var settle = flag.Duration("settle", 2*time.Second, "how long a flood lasts before the caller beside it is measured")

var (
	flooding = flag.String("flood", "", "measure beside the floods whose name contains this alone")
	beside   = flag.Duration("beside", time.Second, "how long the caller beside a flood is measured")
)

// BenchmarkFloods is the throughput of a signed-in caller on 8 connections
// beside 64 of each flood, as a share of what the caller has alone. The server
// has half of a processor, so that it is the server's time that is fought for,
// and not that of what sends the load.
func BenchmarkFloods(b *testing.B) {
	w := newWorld(b)
	p := w.startAs(b, "PORT", "TRUSTED_PROXIES=127.0.0.0/8", "LOCAL_SETTINGS=none")
	defer p.end()
	p.waitFor(b, http.MethodPost, "/mcp", w.token, http.StatusOK)
	host := strings.TrimPrefix(p.url, "http://")
	client := w.Register(b, oauthclient.New(w.URL, back).Public("Ada"))
	quota(b, p.cmd.Process.Pid, 0.5)
	call := strings.Replace(string(mcpRequest(host, "/mcp", w.token, call)), "\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n", 1)
	caller := load{address: host, connections: 8, contains: []byte("Ada"), request: []byte(call)}
	measured := func() (perSecond, took float64) {
		used := processorTime(p.cmd.Process.Pid)
		r, err := caller.run(*beside, 0)
		if err != nil {
			b.Fatal(err)
		}
		return r.perSecond(), (processorTime(p.cmd.Process.Pid) - used).Seconds() / float64(r.requests)
	}
	measured()
	alone, one := measured()
	fmt.Printf("A call takes %.0f µs; alone there are %.0f/s.\n\n| 64 connections of | takes, of a call | keeps beside one address | beside many networks | beside as many that connect again each time |\n|---|---:|---:|---:|---:|\n", 1e6*one, alone)
	for _, f := range floods(host, client) {
		if !strings.Contains(f.name, *flooding) {
			continue
		}
		var took float64
		var kept [3]float64
		for i, s := range []strangers{{networks: false}, {networks: true}, {networks: true, reconnect: true}} {
			s.address, s.request = host, f.request
			if i == 0 {
				used, stop := processorTime(p.cmd.Process.Pid), make(chan struct{})
				time.AfterFunc(*beside/2, func() { close(stop) })
				n := s.run(64, stop)
				took = (processorTime(p.cmd.Process.Pid) - used).Seconds() / float64(n) / one
			}
			stop := make(chan struct{})
			answered := make(chan int64)
			go func() { answered <- s.run(64, stop) }()
			time.Sleep(*settle)
			then, _ := measured()
			close(stop)
			<-answered
			kept[i] = 100 * then / alone
		}
		fmt.Printf("| %s | %.2f | %.0f %% | %.0f %% | %.0f %% |\n", f.name, took, kept[0], kept[1], kept[2])
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBodiesThatNeverCome opens 8,000 connections, each with a request
// whose body never comes, and reports how many are open how long afterwards.
func BenchmarkBodiesThatNeverCome(b *testing.B) {
	w := newWorld(b)
	p := w.start(b)
	defer p.end()
	p.waitFor(b, http.MethodPost, "/mcp", w.token, http.StatusOK)
	host := strings.TrimPrefix(p.url, "http://")
	var open atomic.Int64
	var wg sync.WaitGroup
	paths := []string{"/mcp", "/healthz", "/token", "/.well-known/oauth-authorization-server", "/nowhere"}
	for n := range 8000 {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			b.Fatal(err)
		}
		open.Add(1)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-Forwarded-For: 10.%d.%d.1\r\nContent-Length: 10\r\n\r\n", paths[n%len(paths)], host, n/256, n%256)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
			open.Add(-1)
		})
	}
	for range 14 {
		fmt.Printf("%d open, %.0f MiB\n", open.Load(), resident(p.cmd.Process.Pid))
		if open.Load() == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	if n := open.Load(); n > 0 {
		b.Errorf("%d are still open", n)
	}
	wg.Wait()
	b.ReportMetric(0, "ns/op")
}
