package bench

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/e2e/stack"
)

func TestMain(m *testing.M) { os.Exit(stack.Main(m)) }

var (
	rounds = flag.Int("rounds", 5, "how often each server is measured, in turn")
	each   = flag.Duration("each", 2*time.Second, "how long each measurement takes")
	report = flag.String("report", "", "file whose tables are replaced, each between its two marks")
)

// hello is a call that the compared servers answer with the name.
const hello = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello_world","arguments":{"name":"Ada"}}}`

// discover is a request of the revision without sessions, and discoverHeaders are
// what it wants.
const discover = `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`

var discoverHeaders = []string{"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: server/discover"}

// scenario is one kind of load.
type scenario struct {
	key, title  string
	body        string   // of the MCP request; empty where work does the requests
	headers     []string // of the MCP request, where they are not the usual ones
	contains    string
	connections int
	entrants    []entrant
	// apart gives the server one processor and the load generator another.
	apart bool
	// paced is how long the measurement at half of the throughput takes, in
	// measurements; half of one, if 0.
	paced float64
	// work does the requests that are more than the same bytes again.
	work workload
	// most bounds the requests of one run, where the server bounds those of a
	// minute.
	most int
}

// workload prepares what a number of workers need at a server, and does one
// request as one of them.
type workload struct {
	prepare func(server, int) error
	request func(server, int, *stopwatch) error
}

// stopwatch runs while at least one worker waits for an answer or prepares a request.
// It is stopped while all of them read a page: the server has nothing to do then.
type stopwatch struct {
	mu     sync.Mutex
	atWork int
	since  time.Time
	ran    time.Duration
}

func (w *stopwatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.atWork++; w.atWork == 1 {
		w.since = time.Now()
	}
}

func (w *stopwatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.atWork--; w.atWork == 0 {
		w.ran += time.Since(w.since)
	}
}

// pause is the time in which one worker reads.
func (w *stopwatch) pause(d time.Duration) {
	w.end()
	defer w.begin()
	time.Sleep(d)
}

// measured are the runs of one scenario on one server.
type measured struct {
	server    string
	perSecond []float64
	tail      []float64 // p99/p50 at full throughput, from sending to the answer
	p50, p99  []float64 // ms, at half the throughput and with due times
	resident  []float64 // MiB, at the end of each round
	most      float64   // MiB, that were ever resident
	processor []float64 // ms of the server's processor time for one request
	generator []float64 // ms of the load generator's
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// ratios are those of each round. The computer is faster in one round than in
// another, for all servers, so that they lie closer together than what they are of.
func ratios(v, base []float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = v[i] / base[i]
	}
	return out
}

// spread is how far the runs lie apart, in percent of their median.
func spread(v []float64) float64 { return 100 * (slices.Max(v) - slices.Min(v)) / median(v) }

func (p *programs) scenarios() []scenario {
	all := []entrant{p.startFastMCP, p.startOwn, p.startFloor, p.startEcho}
	mcps := all[:3]
	withCeiling := []entrant{p.startFastMCP, p.startOwn, p.startNone}
	return []scenario{
		{key: "calls-16", title: "`tools/call hello_world`, 16 connections", body: hello, contains: "Ada", connections: 16, entrants: all},
		{key: "calls-256", title: "The same, 256 connections", body: hello, contains: "Ada", connections: 256, entrants: all},
		{key: "one-core", title: "The same, 16 connections, one processor for the server and one for the load", body: hello, contains: "Ada",
			connections: 16, entrants: all, apart: true, paced: 1},
		{key: "hosted", title: "The same, 16 connections, behind the emulated Functions host", body: hello, contains: "Ada", connections: 16,
			entrants: []entrant{p.startFastMCP, p.startOwn, p.startHosted}},
		{key: "list", title: "`tools/list` with 50 tools", body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, contains: "tool_49", connections: 16, entrants: mcps},
		{key: "initialize", title: "`initialize`", body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`,
			contains: "serverInfo", connections: 16, entrants: mcps},
		{key: "discover", title: "`server/discover`, revision 2026-07-28", body: discover, headers: discoverHeaders, contains: "supportedVersions", connections: 16, entrants: mcps},
		{key: "large", title: "A result of 100 kB", body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"large","arguments":{}}}`, contains: "0123456789abcdef", connections: 16, entrants: mcps},
		{key: "refresh-1", title: "Refresh, 1 worker", connections: 1, entrants: withCeiling, work: refreshing()},
		{key: "refresh-8", title: "Refresh, 8 workers", connections: 8, entrants: withCeiling, work: refreshing()},
		{key: "sign-in", title: "Sign-in from the authorization request to tokens, 400 workers", connections: 400, entrants: withCeiling, work: signingIn(), most: 400},
	}
}

// BenchmarkCompare measures this server beside FastMCP with its AzureProvider,
// the MCP SDK without authentication, and net/http, in one run and in turn, so
// that the ratios hold on any computer. What the figures say about this one
// alone is in the spread.
func BenchmarkCompare(b *testing.B) {
	p := newPrograms(b)
	// The load is to take as little of the processors as it can.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var found []outcome
	scenarios := p.scenarios()
	for _, sc := range scenarios {
		b.Run(sc.key, func(b *testing.B) {
			var prefix []string
			if sc.apart {
				prefix = apart(b)
			}
			var servers []server
			for _, start := range sc.entrants {
				servers = append(servers, start(b, prefix))
			}
			o := outcome{sc, measure(b, sc, servers)}
			found = append(found, o)
			text := table(o.runs)
			fmt.Printf("\n%s\n\n%s\n", sc.title, text)
			write(b, sc.key, text)
			b.ReportMetric(0, "ns/op")
		})
	}
	if len(found) == len(scenarios) {
		text := summary(found)
		fmt.Printf("\n%s\n", text)
		write(b, "summary", text)
	}
}

// outcome is a scenario and what was measured, by server.
type outcome struct {
	scenario
	runs []*measured
}

// measure takes the servers in turn, after a short run of each to warm up.
func measure(b *testing.B, sc scenario, servers []server) []*measured {
	b.Helper()
	found := make([]*measured, len(servers))
	for i, s := range servers {
		found[i] = &measured{server: s.name}
		if sc.work.prepare != nil {
			if err := sc.work.prepare(s, sc.connections); err != nil {
				b.Fatalf("%s, %s: %v", sc.title, s.name, err)
			}
		}
	}
	for round := range *rounds + 1 {
		for i, s := range servers {
			limit, of := *each, sc
			if round == 0 {
				limit, of.most = min(time.Second, limit), sc.most/8
			}
			if err := found[i].add(of, s, limit, round > 0); err != nil {
				b.Fatalf("%s, %s: %v", sc.title, s.name, err)
			}
		}
	}
	return found
}

// add measures the server once, and keeps it if it counts.
func (m *measured) add(sc scenario, s server, limit time.Duration, counts bool) error {
	used, own := processorTime(s.pid), processorTime(os.Getpid())
	r, err := admitted(sc, s, limit, 0)
	if err != nil || !counts {
		return err
	}
	used, own = processorTime(s.pid)-used, processorTime(os.Getpid())-own
	m.perSecond = append(m.perSecond, r.perSecond())
	m.tail = append(m.tail, float64(r.percentile(0.99))/float64(max(r.percentile(0.50), 1)))
	m.processor = append(m.processor, ms(used)/float64(r.requests))
	m.generator = append(m.generator, ms(own)/float64(r.requests))
	if sc.work.request == nil {
		paced := time.Duration(cmp.Or(sc.paced, 0.5) * float64(limit))
		if r, err = admitted(sc, s, paced, r.perSecond()/2); err != nil {
			return err
		}
	}
	m.p50 = append(m.p50, ms(r.percentile(0.50)))
	m.p99 = append(m.p99, ms(r.percentile(0.99)))
	m.resident = append(m.resident, resident(s.pid))
	m.most = memory(s.pid, "VmHWM")
	return nil
}

// admitted repeats a run in which the server refused as overloaded: on a computer
// that others use as well, their load may be the cause.
func admitted(sc scenario, s server, limit time.Duration, rate float64) (r result, err error) {
	for range 5 {
		if r, err = once(sc, s, limit, rate); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
			return r, err
		}
		time.Sleep(3 * time.Second)
	}
	return r, err
}

func once(sc scenario, s server, limit time.Duration, rate float64) (result, error) {
	if sc.work.request == nil {
		l := load{address: s.host(), request: mcpRequest(s.host(), s.path, s.token, sc.body, sc.headers...), connections: sc.connections, contains: []byte(sc.contains)}
		return l.run(limit, rate)
	}
	var (
		mu     sync.Mutex
		r      result
		failed atomic.Pointer[error]
		begun  atomic.Int64
		wg     sync.WaitGroup
		watch  stopwatch
	)
	start := time.Now()
	for worker := range min(sc.connections, cmp.Or(s.workers, sc.connections)) {
		watch.begin()
		wg.Go(func() {
			defer watch.end()
			for time.Since(start) < limit && failed.Load() == nil {
				if sc.most > 0 && begun.Add(1) > int64(sc.most) {
					return
				}
				from := time.Now()
				if err := sc.work.request(s, worker, &watch); err != nil {
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
	r.requests, r.elapsed = len(r.latencies), watch.ran
	slices.Sort(r.latencies)
	if err := failed.Load(); err != nil {
		return r, *err
	}
	return r, nil
}

// manyGrants is so many that a grant's turn comes again only after its last
// rotation has left the time in which a repeated refresh is answered alike.
const manyGrants = 80

// refreshing lets each worker refresh its own grants in turn.
func refreshing() workload {
	type key struct {
		server string
		worker int
	}
	own, next := map[key][]*client{}, map[key]*int{} // of each worker, once prepared
	return workload{
		prepare: func(s server, workers int) error {
			registered, err := newClient(s)
			if err != nil {
				return err
			}
			for worker := range workers {
				own[key{s.name, worker}], next[key{s.name, worker}] = nil, new(int)
			}
			var mu sync.Mutex
			var failed error
			grants := make(chan int)
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for n := range grants {
						c := *registered
						err := c.signIn(nil)
						mu.Lock()
						failed = cmp.Or(failed, err)
						k := key{s.name, n % workers}
						own[k] = append(own[k], &c)
						mu.Unlock()
					}
				})
			}
			for n := range manyGrants {
				grants <- n
			}
			close(grants)
			wg.Wait()
			return failed
		},
		request: func(s server, worker int, _ *stopwatch) error {
			k := key{s.name, worker}
			*next[k]++
			return own[k][*next[k]%len(own[k])].renew()
		},
	}
}

// signingIn lets people sign in again and again with a client that was registered
// once.
func signingIn() workload {
	clients := map[string]*client{}
	return workload{
		prepare: func(s server, _ int) (err error) {
			clients[s.name], err = newClient(s)
			return err
		},
		request: func(s server, _ int, watch *stopwatch) error {
			c := *clients[s.name]
			return c.signIn(watch.pause)
		},
	}
}

// table has one row for each server, the first being the measure of the others.
func table(found []*measured) string {
	var t strings.Builder
	t.WriteString("| | requests/s | ratio | spread | p99/p50, full load | p50 | p99 | p99/p50 | resident | most | processor | ratio | generator |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	base := found[0]
	for _, m := range found {
		ratio := ratios(m.perSecond, base.perSecond)
		of := ratio
		if m == base {
			of = m.perSecond
		}
		fmt.Fprintf(&t, "| %s | %.0f | %.1f | %.0f %% | %.1f | %.2f ms | %.2f ms | %.1f ", m.server, median(m.perSecond), median(ratio), spread(of), median(m.tail),
			median(m.p50), median(m.p99), median(m.p99)/median(m.p50))
		if m.most > 0 {
			fmt.Fprintf(&t, "| %.0f, %.0f MiB | %.0f MiB | %.3f ms | %.1f ", m.resident[0], m.resident[len(m.resident)-1], m.most,
				median(m.processor), median(ratios(base.processor, m.processor)))
		} else {
			t.WriteString("| - | - | - | - ")
		}
		fmt.Fprintf(&t, "| %.3f ms |\n", median(m.generator))
	}
	return t.String()
}

// summary is one line for each scenario: this server beside the others.
func summary(found []outcome) string {
	var t strings.Builder
	t.WriteString("| | FastMCP | this server | ratio | spread | processor | to the SDK | spread | processor | p99/p50, full load | most resident |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, o := range found {
		first, own := o.runs[0], o.runs[1]
		ratio := ratios(own.perSecond, first.perSecond)
		sdk := "- | - | -"
		if i := slices.IndexFunc(o.runs, func(m *measured) bool { return strings.HasPrefix(m.server, "MCP SDK") }); i >= 0 {
			to := ratios(own.perSecond, o.runs[i].perSecond)
			sdk = fmt.Sprintf("%.1f × | %.0f %% | %.1f ×", median(to), spread(to), median(ratios(o.runs[i].processor, own.processor)))
		}
		fmt.Fprintf(&t, "| %s | %.0f/s | %.0f/s | %.1f × | %.0f %% | %.1f × | %s | %.1f | %.0f MiB |\n", o.title, median(first.perSecond), median(own.perSecond),
			median(ratio), spread(ratio), median(ratios(first.processor, own.processor)), sdk, median(own.tail), own.most)
	}
	return t.String()
}

// write puts a table between its marks in the report, under when and on what it
// was measured.
func write(b *testing.B, key, text string) {
	b.Helper()
	if *report == "" {
		return
	}
	from, to := "<!-- measured: "+key+" -->\n", "<!-- end -->"
	old, err := os.ReadFile(*report)
	if err != nil {
		b.Fatal(err)
	}
	before, rest, found := bytes.Cut(old, []byte(from))
	_, after, ended := bytes.Cut(rest, []byte(to))
	if !found || !ended {
		b.Fatalf("%s has no marks for %s", *report, key)
	}
	head := fmt.Sprintf("%s, %d cores, %s, %s; %d rounds of %s, each server in turn; medians.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.GOOS+"/"+runtime.GOARCH, runtime.Version(), *rounds, *each)
	if err := os.WriteFile(*report, slices.Concat(before, []byte(from), []byte(head+text+"\n"), []byte(to), after), 0o600); err != nil {
		b.Fatal(err)
	}
}
