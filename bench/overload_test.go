package bench

import (
	"bufio"
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
	for name, value := range map[string]int{"cpu.cfs_period_us": 20_000, "cpu.cfs_quota_us": int(20_000 * fraction), "cgroup.procs": pid} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strconv.Itoa(value)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// offered is what became of requests that were offered at a rate.
type offered struct {
	served, refused, failed atomic.Int64
	mu                      sync.Mutex
	servedTook, refusedTook []time.Duration
}

// offer sends request at rate, or as fast as it is answered if rate is 0, over
// connections for limit.
func offer(address string, request []byte, connections int, limit time.Duration, rate float64) *offered {
	o := &offered{}
	var wg sync.WaitGroup
	var due atomic.Int64
	start := time.Now()
	end := start.Add(limit)
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
				if conn == nil {
					var err error
					if conn, err = net.DialTimeout("tcp", address, 5*time.Second); err != nil {
						o.failed.Add(1)
						conn = nil
						continue
					}
					in = bufio.NewReader(conn)
				}
				_ = conn.SetDeadline(from.Add(10 * time.Second))
				_, err := conn.Write(request)
				var res *http.Response
				if err == nil {
					res, err = http.ReadResponse(in, nil)
				}
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
				}
				if err != nil || res.Close {
					_ = conn.Close()
					conn = nil
				}
				took := time.Since(from)
				switch {
				case err != nil:
					o.failed.Add(1)
				case res.StatusCode == http.StatusOK:
					o.served.Add(1)
					o.mu.Lock()
					o.servedTook = append(o.servedTook, took)
					o.mu.Unlock()
				case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "":
					o.refused.Add(1)
					o.mu.Lock()
					o.refusedTook = append(o.refusedTook, took)
					o.mu.Unlock()
				default:
					o.failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(o.servedTook)
	slices.Sort(o.refusedTook)
	return o
}

func at(took []time.Duration, p float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[min(int(p*float64(len(took))), len(took)-1)]
}

// BenchmarkOverload offers four times what a server with a quarter of a
// processor can serve, and reports what it serves of its capacity.
func BenchmarkOverload(b *testing.B) {
	w := newWorld(b)
	p := w.start(b)
	defer p.end()
	for !p.answers(http.MethodPost, "/mcp", w.token, http.StatusOK) {
		time.Sleep(50 * time.Millisecond)
	}
	quota(b, p.cmd.Process.Pid, 0.25)
	address := strings.TrimPrefix(p.url, "http://")
	request := mcpRequest(address, "/mcp", w.token, call)
	for b.Loop() {
		offer(address, request, 16, time.Second, 0)
		capacity := float64(offer(address, request, 16, 4*time.Second, 0).served.Load()) / 4

		done := make(chan time.Duration)
		go func() { // meanwhile, whoever asks for its health
			var worst time.Duration
			for range 20 {
				from := time.Now()
				if !p.answers(http.MethodGet, "/healthz", "", http.StatusOK) {
					worst = time.Hour
				}
				worst = max(worst, time.Since(from))
				time.Sleep(200 * time.Millisecond)
			}
			done <- worst
		}()
		const seconds = 5
		o := offer(address, request, 1000, seconds*time.Second, 4*capacity)
		health := <-done
		fmt.Printf("capacity %.0f/s; offered 4x: served %.0f/s (p50 %s, p99 %s), refused %.0f/s (p50 %s, p99 %s), failed %d; healthz at worst %s\n",
			capacity, float64(o.served.Load())/seconds, at(o.servedTook, .5).Round(time.Millisecond), at(o.servedTook, .99).Round(time.Millisecond),
			float64(o.refused.Load())/seconds, at(o.refusedTook, .5).Round(time.Millisecond), at(o.refusedTook, .99).Round(time.Millisecond),
			o.failed.Load(), health.Round(time.Millisecond))
		b.ReportMetric(100*float64(o.served.Load())/seconds/capacity, "%-of-capacity")
		b.ReportMetric(float64(at(o.servedTook, .99).Milliseconds()), "ms-p99-served")
		b.ReportMetric(float64(health.Milliseconds()), "ms-healthz-worst")
	}
}
