// Package faultproxy is a TCP connection on which a test can have faults.
package faultproxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// Fault is what happens to bytes on their way.
type Fault int

const (
	// None passes them on.
	None Fault = iota
	// ResetRequests resets a connection when its client sends something, which
	// does not arrive.
	ResetRequests
	// ResetAnswers resets a connection when its server sends something: it has
	// done what it was asked, and nobody learns of it.
	ResetAnswers
	// Stall holds back what servers send until the fault is over.
	Stall
)

// Proxy passes connections on to one address.
type Proxy struct {
	// Address is where it listens.
	Address string

	upstream string
	links    sync.WaitGroup

	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed at the next change of fault
	open    map[*link]bool
	stopped bool
}

// link is one connection and its other half.
type link struct{ client, server *net.TCPConn }

// Start starts a proxy to upstream, host:port, that ends with the test.
func Start(tb testing.TB, upstream string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), upstream: upstream, changed: make(chan struct{}), open: map[*link]bool{}}
	p.links.Go(func() { p.accept(listener.(*net.TCPListener)) })
	tb.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.stopped = true
		for l := range p.open {
			l.reset()
		}
		p.mu.Unlock()
		p.Set(None) // lets go of what is held back
		p.links.Wait()
	})
	return p
}

// Set changes what happens from now on, on open connections too.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept(listener *net.TCPListener) {
	for {
		client, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{client, server.(*net.TCPConn)}
		p.mu.Lock()
		p.open[l] = true
		if p.stopped {
			l.reset()
		}
		p.mu.Unlock()
		p.links.Go(func() {
			var ways sync.WaitGroup
			ways.Go(func() { p.copy(l, l.server, l.client, ResetRequests) })
			ways.Go(func() { p.copy(l, l.client, l.server, ResetAnswers) })
			ways.Wait()
			_, _ = l.client.Close(), l.server.Close()
			p.mu.Lock()
			delete(p.open, l)
			p.mu.Unlock()
		})
	}
}

// copy passes bytes on one way, on which reset is the fault that cuts it.
func (p *Proxy) copy(l *link, to, from *net.TCPConn, reset Fault) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.passes(reset) {
				l.reset()
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			l.reset()
			return
		}
	}
}

// passes waits as long as answers are held back.
func (p *Proxy) passes(reset Fault) bool {
	for {
		p.mu.Lock()
		fault, changed, stopped := p.fault, p.changed, p.stopped
		p.mu.Unlock()
		if stopped || fault == reset {
			return false
		}
		if fault != Stall || reset != ResetAnswers {
			return true
		}
		<-changed
	}
}

// reset ends both halves with RST instead of FIN.
func (l *link) reset() {
	for _, c := range []*net.TCPConn{l.client, l.server} {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}
