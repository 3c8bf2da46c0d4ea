package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load sends one request again and again over connections that stay open. It
// writes and reads plain sockets, so that what it takes of the computer is
// small beside the server.
type load struct {
	address     string // host:port
	request     []byte
	connections int
	// contains must be in every answer, or the run fails: a refusal is fast.
	contains []byte
}

// result is what a run has measured.
type result struct {
	requests  int
	elapsed   time.Duration
	latencies []time.Duration // sorted
}

func (r result) perSecond() float64 { return float64(r.requests) / r.elapsed.Seconds() }

// percentile of the latencies; p is between 0 and 1.
func (r result) percentile(p float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(int(p*float64(len(r.latencies))), len(r.latencies)-1)]
}

// run sends as much as is answered, or rate requests a second if rate is above
// 0. Then a latency begins when the request was due, not when it was sent:
// what a slow answer delays counts as slow (coordinated omission).
func (l load) run(limit time.Duration, rate float64) (result, error) {
	var (
		mu   sync.Mutex
		all  []time.Duration
		errs = make(chan error, l.connections+1)
		wg   sync.WaitGroup
		due  chan time.Time
	)
	// All are connected before the first request is due: what connecting takes is
	// not what a request takes.
	conns := make([]net.Conn, l.connections)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", l.address); err != nil {
			return result{}, err
		}
		defer conns[i].Close()
	}
	start := time.Now()
	end := start.Add(limit)
	if rate > 0 {
		// It holds every time of the run, so that late answers do not hold up pace.
		due = make(chan time.Time, int(rate*limit.Seconds())+1)
		wg.Go(func() {
			if err := pace(due, start, end, rate); err != nil {
				errs <- err
			}
		})
	}
	for _, conn := range conns {
		wg.Go(func() {
			own, err := l.converse(conn, end, due)
			if err != nil {
				errs <- err
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	r := result{requests: len(all), elapsed: time.Since(start), latencies: all}
	slices.Sort(r.latencies)
	select {
	case err := <-errs:
		return r, err
	default:
		return r, nil
	}
}

// pace sends each time at which a request is due at that time, and closes due at
// the end.
func pace(due chan<- time.Time, start, end time.Time, rate float64) error {
	defer close(due)
	timer, err := newSleeper()
	if err != nil {
		return err
	}
	defer timer.close()
	for n := 1; ; n++ {
		at := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		if !at.Before(end) {
			return nil
		}
		if err := timer.until(at); err != nil {
			return err
		}
		due <- at
	}
}

// converse sends requests, each when the last is answered and, if due is not nil,
// one is due. It returns the latencies.
func (l load) converse(conn net.Conn, end time.Time, due <-chan time.Time) (own []time.Duration, err error) {
	in := bufio.NewReaderSize(conn, 64<<10)
	var body []byte
	for {
		from := time.Now()
		if due != nil {
			at, more := <-due
			if !more {
				return own, nil
			}
			from = at
		}
		if !from.Before(end) {
			return own, nil
		}
		if _, err = conn.Write(l.request); err == nil {
			body, err = answer(in, body[:0])
		}
		if err == nil && !bytes.Contains(body, l.contains) {
			err = fmt.Errorf("answer without %q: %.300s", l.contains, body)
		}
		if err != nil {
			return own, err
		}
		own = append(own, time.Since(from))
	}
}

// answer reads one response with status 200 and appends its body to b.
func answer(in *bufio.Reader, b []byte) ([]byte, error) {
	length, chunked := -1, false
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return b, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")):
			return b, fmt.Errorf("answer %q", line)
		case len(line) == 0 && chunked:
			return chunks(in, b)
		case len(line) == 0:
			if length < 0 {
				return b, fmt.Errorf("an answer without a length")
			}
			return exactly(in, b, length)
		case asciiEqual(name, "content-length"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return b, err
			}
		case asciiEqual(name, "transfer-encoding"):
			chunked = true
		}
	}
}

func chunks(in *bufio.Reader, b []byte) ([]byte, error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return b, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return b, err
		}
		if b, err = exactly(in, b, int(size)); err != nil {
			return b, err
		}
		if _, err := in.Discard(2); err != nil || size == 0 {
			return b, err
		}
	}
}

func exactly(in *bufio.Reader, b []byte, n int) ([]byte, error) {
	old := len(b)
	b = slices.Grow(b, n)[:old+n]
	_, err := io.ReadFull(in, b[old:])
	return b, err
}

func asciiEqual(b []byte, s string) bool { return len(b) == len(s) && strings.EqualFold(string(b), s) }

// mcpRequest is the bytes of a POST to an MCP endpoint, in revision 2025-06-18 if
// no headers say another.
func mcpRequest(host, path, token, body string, headers ...string) []byte {
	if len(headers) == 0 {
		headers = []string{"MCP-Protocol-Version: 2025-06-18"}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
		"%s\r\nContent-Length: %d\r\n", path, host, strings.Join(headers, "\r\n"), len(body))
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return b.Bytes()
}

func TestLoadReadsEveryAnswerAndCountsDelayAsLatency(t *testing.T) {
	var n atomic.Int64
	server := newLocal(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch n.Add(1) {
		case 5:
			time.Sleep(200 * time.Millisecond)
		case 6:
			_, _ = io.WriteString(w, "pong ")
			w.(http.Flusher).Flush() // chunked
		}
		_, _ = io.WriteString(w, "pong")
	}))
	l := load{address: server, request: mcpRequest(server, "/", "t", "ping"), connections: 1, contains: []byte("pong")}
	r, err := l.run(500*time.Millisecond, 100)
	if err != nil {
		t.Fatal(err)
	}
	// The fifth answer delays the twenty that were due meanwhile.
	if got := r.percentile(0.9); got < 50*time.Millisecond {
		t.Errorf("p90 is %s: requests that had to wait are not counted as slow", got)
	}
	if int64(r.requests) != n.Load() || r.requests < 40 || r.requests > 50 {
		t.Errorf("%d requests counted, %d served", r.requests, n.Load())
	}
	l.contains = []byte("else")
	if _, err := l.run(100*time.Millisecond, 0); err == nil {
		t.Error("an answer of another text passes")
	}
}
