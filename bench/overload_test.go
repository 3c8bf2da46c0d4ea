package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// quota holds a process to a fraction of a processor, so that what sends the
// load has the rest. It needs root and version 1 of Linux's control groups.
func quota(b *testing.B, pid int, fraction float64) {
	b.Helper()
	dir := filepath.Join("/sys/fs/cgroup/cpu", "bench-"+strconv.Itoa(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Skipf("no control group can be made: %v", err)
	}
	b.Cleanup(func() { _ = os.Remove(dir) })
	// With the largest share, nothing but the quota holds it back.
	for name, value := range map[string]int{"cpu.shares": 262144, "cpu.cfs_period_us": 20_000, "cpu.cfs_quota_us": int(20_000 * fraction), "cgroup.procs": pid} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strconv.Itoa(value)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// offered is what became of requests that were offered at a rate.
type offered struct {
	sent, served, late, refused, failed atomic.Int64

	mu                      sync.Mutex
	servedTook, refusedTook []time.Duration
}

const (
	// goodWithin is how soon an answer must come to count as good.
	goodWithin = 2 * time.Second
	// patience is how long a client waits before it hangs up.
	patience = 5 * time.Second
)

// offer sends request at rate, or as fast as it is answered if rate is 0, over
// connections for limit, of which what is sent in the first part, begin, does not
// count. An answer that holds contains and comes in time counts as served.
func offer(address string, request []byte, contains string, connections int, begin, limit time.Duration, rate float64) *offered {
	o, before := &offered{}, &offered{}
	var wg sync.WaitGroup
	var due atomic.Int64
	start := time.Now()
	end := start.Add(begin + limit)
	for range connections {
		wg.Go(func() {
			var conn net.Conn
			var in *bufio.Reader
			defer func() {
				if conn != nil {
					_ = conn.Close()
				}
			}()
			for time.Now().Before(end) {
				if rate > 0 {
					at := start.Add(time.Duration(float64(due.Add(1)) / rate * float64(time.Second)))
					if !at.Before(end) {
						return
					}
					time.Sleep(time.Until(at))
				}
				from := time.Now()
				o := o
				if from.Sub(start) < begin {
					o = before
				}
				o.sent.Add(1)
				if conn == nil {
					var err error
					if conn, err = net.DialTimeout("tcp", address, patience); err != nil {
						o.failed.Add(1)
						conn = nil
						continue
					}
					in = bufio.NewReaderSize(conn, 2<<10)
				}
				status, close, err := o.ask(conn, in, request, contains, from)
				if err != nil || close {
					_ = conn.Close()
					conn = nil
				}
				o.count(status, err, time.Since(from))
			}
		})
	}
	wg.Wait()
	slices.Sort(o.servedTook)
	slices.Sort(o.refusedTook)
	return o
}

// ask sends one request and returns the status of an answer that is a good one
// or a proper refusal, else 0.
func (o *offered) ask(conn net.Conn, in *bufio.Reader, request []byte, contains string, from time.Time) (status int, close bool, err error) {
	_ = conn.SetDeadline(from.Add(patience))
	if _, err = conn.Write(request); err != nil {
		return 0, true, err
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, true, err
	}
	text, err := io.ReadAll(res.Body)
	switch {
	case res.StatusCode == http.StatusOK && strings.Contains(string(text), contains):
		return res.StatusCode, res.Close, err
	case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "":
		return res.StatusCode, res.Close, err
	}
	return 0, res.Close, err
}

func (o *offered) count(status int, err error, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		o.late.Add(1)
	case err != nil || status == 0:
		o.failed.Add(1)
	case status == http.StatusServiceUnavailable:
		o.refused.Add(1)
		o.refusedTook = append(o.refusedTook, took)
	case took > goodWithin:
		o.late.Add(1)
		o.servedTook = append(o.servedTook, took)
	default:
		o.served.Add(1)
		o.servedTook = append(o.servedTook, took)
	}
}

func at(took []time.Duration, p float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[min(int(p*float64(len(took))), len(took)-1)]
}

// BenchmarkOverload offers four times what a server with a quarter of a
// processor can serve, and reports what it serves of its capacity: of a tool that
// does nothing, and of one that computes for a few milliseconds.
func BenchmarkOverload(b *testing.B) {
	w := newWorld(b)
	w.binary = binary(b, "..", "./bench/own")
	for _, tool := range []struct{ name, contains string }{{"hello_world", "Hello"}, {"work", "worked"}} {
		b.Run(tool.name, func(b *testing.B) { w.overload(b, tool.name, tool.contains) })
	}
}

func (w *world) overload(b *testing.B, tool, contains string) {
	p := w.start(b)
	defer p.end()
	p.waitFor(b, http.MethodGet, "/readyz", "", http.StatusOK)
	quota(b, p.cmd.Process.Pid, 0.25)
	address := strings.TrimPrefix(p.url, "http://")
	request := mcpRequest(address, "/mcp", w.token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{}}}`)
	var kept []float64
	fmt.Printf("| capacity | offered | served within %s, of capacity | p50, p99 | refused | p50, p99 | late | failed | healthz at worst | MiB |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", goodWithin)
	for b.Loop() {
		for range *rounds {
			const seconds = 5
			capacity := float64(offer(address, request, contains, 16, time.Second, seconds*time.Second, 0).served.Load()) / seconds
			healthy := make(chan time.Duration)
			go func() { // health probes, meanwhile
				var worst time.Duration
				for range 35 {
					from := time.Now()
					if !p.answers(http.MethodGet, "/healthz", "", http.StatusOK) {
						worst = time.Hour
					}
					worst = max(worst, time.Since(from))
					time.Sleep(200 * time.Millisecond)
				}
				healthy <- worst
			}()
			o := offer(address, request, contains, 4096, 3*time.Second, seconds*time.Second, 4*capacity)
			worst := <-healthy
			share := 100 * float64(o.served.Load()) / seconds / capacity
			kept = append(kept, share)
			fmt.Printf("| %.0f/s | %.0f/s | %.0f %% | %d, %d ms | %.0f/s | %d, %d ms | %d | %d | %d ms | %.0f |\n",
				capacity, float64(o.sent.Load())/seconds, share, at(o.servedTook, .5).Milliseconds(), at(o.servedTook, .99).Milliseconds(),
				float64(o.refused.Load())/seconds, at(o.refusedTook, .5).Milliseconds(), at(o.refusedTook, .99).Milliseconds(),
				o.late.Load(), o.failed.Load(), worst.Milliseconds(), resident(p.cmd.Process.Pid))
		}
	}
	b.ReportMetric(median(kept), "%-of-capacity")
	b.ReportMetric(0, "ns/op")
}
