package bench

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	rounds = flag.Int("rounds", 3, "how often each server is measured, in turn")
	each   = flag.Duration("each", 4*time.Second, "how long each measurement takes")
	only   = flag.String("only", "", "measure the scenarios whose name this regular expression matches")
	report = flag.String("report", "", "file whose table of ratios is replaced, between its two marks")
)

// hello is a call that the compared servers answer with the name.
const hello = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello_world","arguments":{"name":"Ada"}}}`

// scenario is one kind of load.
type scenario struct {
	name        string
	body        string // of the MCP request; empty where work does the requests
	contains    string
	connections int
	servers     []server
	// work does one request as one of the connections, where it is more than
	// the same bytes again.
	work func(server, int) error
	// most bounds the requests of one run, where the server bounds those of a
	// minute.
	most int
}

// measured are the runs of one scenario on one server.
type measured struct {
	perSecond []float64
	p50, p99  []float64 // ms, at half the throughput and with due times
	resident  float64   // MiB, the most seen
	processor []float64 // ms of the server's processor time for one request
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// spread is how far the runs lie apart, in percent of their median.
func spread(v []float64) float64 { return 100 * (slices.Max(v) - slices.Min(v)) / median(v) }

// BenchmarkCompare measures this server beside FastMCP with its AzureProvider,
// the MCP SDK without authentication, and net/http, in one run and in turn, so
// that the ratios hold on any computer. What the figures say about this one
// alone is in the spread.
func BenchmarkCompare(b *testing.B) {
	chosen, err := regexp.Compile(*only)
	if err != nil {
		b.Fatal(err)
	}
	c := startAll(b)
	tokens := map[string]string{c.fastMCP.name: accessTo(b, c.fastMCP), c.own.name: accessTo(b, c.own)}
	all := []server{c.fastMCP, c.own, c.floor, c.echo}
	mcps := all[:3]
	scenarios := []scenario{
		{name: "tools/call hello_world, 16 connections", body: hello, contains: "Ada", connections: 16, servers: all},
		{name: "the same, 256 connections", body: hello, contains: "Ada", connections: 256, servers: all},
		{name: "tools/list with 50 tools", body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, contains: "tool_49", connections: 16, servers: mcps},
		{name: "initialize", body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`,
			contains: "serverInfo", connections: 16, servers: mcps},
		{name: "a result of 100 kB", body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"large","arguments":{}}}`, contains: "0123456789abcdef", connections: 16, servers: mcps},
		{name: "refresh, 1 worker", connections: 1, servers: all[:2], work: refreshing()},
		{name: "refresh, 8 workers", connections: 8, servers: all[:2], work: refreshing()},
		{name: "sign-in from the authorization request to tokens, 32 workers", connections: 32, servers: all[:2], work: signingIn(), most: 100},
	}
	scenarios = slices.DeleteFunc(scenarios, func(sc scenario) bool { return !chosen.MatchString(sc.name) })
	results := make([]map[string]*measured, len(scenarios))
	for i, sc := range scenarios {
		results[i] = measure(b, sc, tokens)
		fmt.Printf("%s\n\n%s\n", sc.name, table(sc, results[i]))
	}
	b.ReportMetric(0, "ns/op")
	if *report != "" {
		var text strings.Builder
		for i, sc := range scenarios {
			fmt.Fprintf(&text, "### %s\n\n%s\n", strings.ToUpper(sc.name[:1])+sc.name[1:], table(sc, results[i]))
		}
		if err := rewrite(*report, text.String()); err != nil {
			b.Fatal(err)
		}
	}
}

// measure takes the servers in turn, after a short run of each to warm up.
func measure(b *testing.B, sc scenario, tokens map[string]string) map[string]*measured {
	b.Helper()
	found := map[string]*measured{}
	for round := range *rounds + 1 {
		for _, s := range sc.servers {
			m := found[s.name]
			if m == nil {
				m = &measured{}
				found[s.name] = m
			}
			limit := *each
			if round == 0 {
				limit = min(time.Second, limit)
			}
			used := processorTime(s.pid)
			r, err := admitted(sc, s, tokens[s.name], limit, 0)
			if err != nil {
				b.Fatalf("%s, %s: %v", sc.name, s.name, err)
			}
			used = processorTime(s.pid) - used
			m.resident = max(m.resident, resident(s.pid))
			if round == 0 {
				continue
			}
			m.perSecond = append(m.perSecond, r.perSecond())
			m.processor = append(m.processor, used.Seconds()*1000/float64(r.requests))
			if sc.work == nil {
				if r, err = admitted(sc, s, tokens[s.name], limit/2, r.perSecond()/2); err != nil {
					b.Fatalf("%s, %s: %v", sc.name, s.name, err)
				}
			}
			m.p50 = append(m.p50, float64(r.percentile(0.50).Microseconds())/1000)
			m.p99 = append(m.p99, float64(r.percentile(0.99).Microseconds())/1000)
		}
	}
	return found
}

// admitted repeats a run in which the server refused as overloaded: on a computer
// that others use as well, their load may be the cause.
func admitted(sc scenario, s server, token string, limit time.Duration, rate float64) (r result, err error) {
	for range 5 {
		if r, err = once(sc, s, token, limit, rate); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
			return r, err
		}
		time.Sleep(3 * time.Second)
	}
	return r, err
}

func once(sc scenario, s server, token string, limit time.Duration, rate float64) (result, error) {
	if sc.work == nil {
		l := load{address: s.host(), request: mcpRequest(s.host(), s.path, token, sc.body), connections: sc.connections, contains: []byte(sc.contains)}
		if s.path == "/echo" {
			l.contains = nil
		}
		return l.run(limit, rate)
	}
	var (
		mu     sync.Mutex
		r      result
		failed atomic.Pointer[error]
		begun  atomic.Int64
		wg     sync.WaitGroup
	)
	start := time.Now()
	for worker := range sc.connections {
		wg.Go(func() {
			for time.Since(start) < limit && failed.Load() == nil {
				if sc.most > 0 && begun.Add(1) > int64(sc.most) {
					return
				}
				from := time.Now()
				if err := sc.work(s, worker); err != nil {
					failed.Store(&err)
					return
				}
				mu.Lock()
				r.latencies = append(r.latencies, time.Since(from))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.requests, r.elapsed = len(r.latencies), time.Since(start)
	slices.Sort(r.latencies)
	if err := failed.Load(); err != nil {
		return r, *err
	}
	return r, nil
}

// grantsPerWorker is so many that a grant's turn comes again only after its last
// rotation has left the time in which a repeated refresh is answered alike.
const grantsPerWorker = 40

// refreshing lets each worker refresh its own grants in turn.
func refreshing() func(server, int) error {
	type key struct {
		server string
		worker int
	}
	var mu sync.Mutex
	own := map[key][]*client{}
	next := map[key]int{}
	return func(s server, worker int) error {
		k := key{s.name, worker}
		mu.Lock()
		clients := own[k]
		next[k]++
		n := next[k]
		mu.Unlock()
		if clients == nil {
			registered, err := newClient(s, newTransport())
			if err != nil {
				return err
			}
			for range grantsPerWorker {
				c := *registered
				if err := c.signIn(); err != nil {
					return err
				}
				clients = append(clients, &c)
			}
			mu.Lock()
			own[k] = clients
			mu.Unlock()
		}
		return clients[n%len(clients)].renew()
	}
}

// signingIn lets each worker sign in again and again with a client that it
// registered once.
func signingIn() func(server, int) error {
	var clients sync.Map
	return func(s server, worker int) error {
		key := fmt.Sprint(s.name, worker)
		known, ok := clients.Load(key)
		if !ok {
			c, err := newClient(s, newTransport())
			if err != nil {
				return err
			}
			known, _ = clients.LoadOrStore(key, c)
		}
		c := *known.(*client)
		return c.signIn()
	}
}

var shared = &http.Transport{MaxIdleConnsPerHost: 64}

func newTransport() *http.Client { return &http.Client{Transport: shared, Timeout: 30 * time.Second} }

// table has one row for each server, the first being the measure of the others.
func table(sc scenario, found map[string]*measured) string {
	var t strings.Builder
	t.WriteString("| | requests/s | spread | ratio | p50 | p99 | resident | processor | ratio |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	base, most := median(found[sc.servers[0].name].perSecond), median(found[sc.servers[0].name].processor)
	for _, s := range sc.servers {
		m := found[s.name]
		fmt.Fprintf(&t, "| %s | %.0f | %.0f %% | %.1f | %.2f ms | %.2f ms | %.0f MiB | %.3f ms | %.1f |\n",
			s.name, median(m.perSecond), spread(m.perSecond), median(m.perSecond)/base, median(m.p50), median(m.p99), m.resident,
			median(m.processor), most/median(m.processor))
	}
	return t.String()
}

// rewrite puts text between the marks of the file, under what it was measured on.
func rewrite(path, text string) error {
	const from, to = "<!-- measured: made by make bench -->\n", "<!-- end of measured -->"
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(old, []byte(from))
	_, after, ended := bytes.Cut(rest, []byte(to))
	if !found || !ended {
		return fmt.Errorf("%s has no marks", path)
	}
	head := fmt.Sprintf("\n%s, %d cores, %s, %s. %d rounds of %s, each server in turn; medians.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version(), *rounds, *each)
	return os.WriteFile(path, slices.Concat(before, []byte(from), []byte(head+text+"\n"), []byte(to), after), 0o600)
}
