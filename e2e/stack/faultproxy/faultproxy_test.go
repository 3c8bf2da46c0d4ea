package faultproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo answers every line by itself and counts what arrives.
func echo(t *testing.T) (address string, arrived *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	arrived = new(atomic.Int32)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					arrived.Add(1)
					fmt.Fprintln(c, lines.Text())
				}
			}()
		}
	}()
	return listener.Addr().String(), arrived
}

func TestFaults(t *testing.T) {
	upstream, arrived := echo(t)
	p := Start(t, upstream)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	say := func(c net.Conn, within time.Duration) error {
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(within))
		_, err := bufio.NewReader(c).ReadString('\n')
		return err
	}
	open := dial()
	if err := say(open, time.Second); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	for _, tt := range []struct {
		fault   Fault
		arrives int32
	}{{ResetRequests, 0}, {ResetAnswers, 1}} {
		for name, c := range map[string]net.Conn{"an open connection": open, "a new connection": dial()} {
			before := arrived.Load()
			p.Set(tt.fault)
			if err := say(c, time.Second); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("fault %d, %s: %v, want a reset", tt.fault, name, err)
			}
			if n := arrived.Load() - before; n != tt.arrives {
				t.Errorf("fault %d, %s: %d requests arrived, want %d", tt.fault, name, n, tt.arrives)
			}
		}
		p.Set(None)
		open = dial()
	}
	p.Set(Stall)
	if err := say(open, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("stalled: %v", err)
	}
	p.Set(None)
	_ = open.SetReadDeadline(time.Now().Add(time.Second))
	if text, err := bufio.NewReader(open).ReadString('\n'); err != nil || text != "hello\n" {
		t.Errorf("after the stall: %q, %v", text, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
