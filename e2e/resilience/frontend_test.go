//go:build unix

package resilience

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"entramcp/e2e/stack"
)

// place is where one instance after another runs, with a clock that is ahead of
// the real one.
type place struct {
	tables *storage
	ahead  time.Duration

	mu       sync.Mutex
	instance *stack.Instance
}

func (p *place) now() *stack.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.instance
}

func (p *place) use(i *stack.Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instance = i
}

// unreliable is a front end before several places. It knows nothing of how they
// are, gives up on late answers, loses some answers and delivers some requests a
// second time, later. What a client does not learn is a 504.
type unreliable struct {
	public string
	places []*place
	counts *counts
	late   sync.WaitGroup // deliveries of second copies
	calm   atomic.Bool    // nothing is lost any more
}

const (
	// givesUp is when an answer comes too late.
	givesUp = 4 * time.Second
	// One answer in losesOne is lost, and one token request in repeatsOne is
	// delivered again within latest.
	losesOne, repeatsOne = 12, 8
	latest               = 3 * time.Second
)

func (f *unreliable) RoundTrip(r *http.Request) (*http.Response, error) {
	if "http://"+r.URL.Host != f.public {
		return http.DefaultTransport.RoundTrip(r)
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if !f.calm.Load() && r.URL.Path == "/token" && rand.N(repeatsOne) == 0 {
		f.counts.add(events, "token request delivered twice")
		f.late.Go(func() {
			time.Sleep(rand.N(latest))
			_, _ = f.deliver(context.WithoutCancel(r.Context()), r, body)
		})
	}
	res, err := f.deliver(r.Context(), r, body)
	if err == nil && !f.calm.Load() && rand.N(losesOne) == 0 {
		f.counts.add(events, "answer lost")
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		f.counts.add(events, "no answer")
		return &http.Response{StatusCode: http.StatusGatewayTimeout, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	return res, nil
}

// deliver takes the request to any place and waits for the whole answer.
func (f *unreliable) deliver(ctx context.Context, r *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, givesUp)
	defer cancel()
	there := r.Clone(ctx)
	there.Body = io.NopCloser(bytes.NewReader(body))
	res, err := to(f.public, f.places[rand.N(len(f.places))].now()).RoundTrip(there)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusInternalServerError && res.StatusCode != http.StatusServiceUnavailable {
		f.counts.violation(odd, "%s: %d %s", r.URL.Path, res.StatusCode, answer)
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	return res, nil
}
