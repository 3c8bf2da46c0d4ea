package bench

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// flood is a request that anybody can send, again and again.
type flood struct {
	name    string
	request func(host string) string
}

func get(path string) func(string) string {
	return func(host string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", path, host)
	}
}

func post(path, contentType, body string) func(string) string {
	return func(host string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, host, contentType, len(body), body)
	}
}

const form = "application/x-www-form-urlencoded"

// floods are one for each way in that needs no sign-in.
func floods() []flood {
	// Three parts of base64url, as an assertion has, signed by nobody.
	assertion := "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJjIn0." + strings.Repeat("A", 342)
	return []flood{
		{"calls without a token", post("/mcp", "application/json", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)},
		{"calls with a made-up token", func(host string) string {
			return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ.e30.%s\r\nContent-Length: 2\r\n\r\n{}", host, strings.Repeat("A", 43))
		}},
		{"registrations", post("/register", "application/json", `{"redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"none"}`)},
		{"authorizations of unknown clients", get("/authorize?client_id=unknown&redirect_uri=https%3A%2F%2Fa.example%2Fcb&response_type=code")},
		{"authorizations by a made-up document", get("/authorize?client_id=https%3A%2F%2Fa.invalid%2Fc&redirect_uri=https%3A%2F%2Fa.invalid%2Fcb&response_type=code")},
		{"made-up refresh tokens", post("/token", form, "grant_type=refresh_token&client_id=unknown&refresh_token="+strings.Repeat("A", 150))},
		{"made-up assertions", post("/token", form, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {"https://a.invalid/c"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}.Encode())},
		{"made-up callbacks", get("/auth/callback?state=x&error=access_denied")},
		{"readiness", get("/readyz")},
		{"the page at the root", get("/")},
	}
}

// BenchmarkFloods is the throughput of a signed-in caller on 8 connections
// beside 64 of each flood, as a share of what the caller has alone.
func BenchmarkFloods(b *testing.B) {
	c := startAll(b)
	one, err := newClient(c.own, newTransport())
	if err == nil {
		err = one.signIn()
	}
	if err != nil {
		b.Fatal(err)
	}
	caller := load{address: c.own.host(), connections: 8, contains: []byte("Ada"),
		request: mcpRequest(c.own.host(), c.own.path, one.Access, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello_world","arguments":{"name":"Ada"}}}`)}
	alone, err := caller.run(*each, 0)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("| flood | requests/s refused | caller keeps |\n|---|---:|---:|\n| none | | 100 %% (%.0f/s) |\n", alone.perSecond())
	for _, f := range floods() {
		stranger := load{address: c.own.host(), connections: 64, request: []byte(f.request(c.own.host())), anyStatus: true}
		refused := make(chan result)
		go func() {
			r, err := stranger.run(*each+time.Second, 0)
			if err != nil {
				b.Logf("%s: %v", f.name, err)
			}
			refused <- r
		}()
		time.Sleep(500 * time.Millisecond)
		beside, err := caller.run(*each, 0)
		if err != nil {
			b.Errorf("beside %s: %v", f.name, err)
		}
		r := <-refused
		fmt.Printf("| %s | %.0f | %.0f %% |\n", f.name, r.perSecond(), 100*beside.perSecond()/alone.perSecond())
		time.Sleep(time.Second) // limits by instance recover
	}
	b.ReportMetric(0, "ns/op")
}
