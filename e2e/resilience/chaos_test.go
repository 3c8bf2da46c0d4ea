//go:build unix

package resilience

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/e2e/stack/faultproxy"
)

// chaosLasts is for how long TestChaos goes on: CHAOS, or 20 s.
func chaosLasts(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CHAOS")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("CHAOS is no duration: %q", text)
	}
	return d
}

// TestChaos has honest clients sign in, call, refresh and revoke, and repeat
// what got no answer, while three instances on one table, whose clocks are apart,
// are killed, paused and cut off from storage and tenant. No promise may be broken
// even once; the counts say what there was to break it.
func TestChaos(t *testing.T) {
	t.Parallel()
	lasts := chaosLasts(t)
	c := &counts{}
	places := []*place{{tables: startStorage(t)}, {tables: startStorage(t), ahead: ahead}, {tables: startStorage(t), ahead: -behind}}
	var wire *faultproxy.Proxy
	s := stack.Start(t, stack.Options{
		Instances: 1, Tables: places[0].tables.connection,
		Env: map[string]string{"TIMEOUT_SECONDS": timeout, "LOG_LEVEL": "info"},
		Via: func(listens string) string {
			wire = faultproxy.Start(t, listens)
			return "http://" + wire.Address
		},
	})
	start := func(p *place) *stack.Instance {
		i := s.AsideAhead(t, p.ahead, map[string]string{"TABLES_CONNECTION_STRING": p.tables.connection})
		p.use(i)
		return i
	}
	places[0].use(s.Instances[0])
	for _, p := range places[1:] {
		start(p).WaitReady()
	}
	f := &unreliable{public: s.URL, places: places, counts: c}

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var all []*honest
	for n := range 6 {
		h := &honest{client: newClient(t, s), counts: c, stop: stop, stays: n == 0}
		h.HTTP = &http.Client{Transport: f}
		h.browser.Through(f)
		all = append(all, h)
		clients.Go(h.live)
	}
	m := &monkey{counts: c, places: places, wire: wire, start: start}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		m.act(time.Until(end))
	}
	close(stop)
	clients.Wait()
	f.late.Wait()
	f.calm.Store(true)
	for _, p := range places {
		p.now().WaitReady()
	}
	m.afterwards(t, all)
	c.report(t)
}

// afterwards everybody who did not revoke is still signed in, and what was
// revoked is refused everywhere.
func (m *monkey) afterwards(t *testing.T, all []*honest) {
	for _, h := range all {
		if h.current.refresh != "" {
			if !h.refreshed("after the chaos") {
				m.counts.violation(loggedOut, "after the chaos there are no tokens")
			} else if a := h.call(h.current.access); a.status != http.StatusOK {
				m.counts.violation(loggedOut, "after the chaos /mcp answers %d %s", a.status, a.body)
			}
			m.counts.add(checks, "signed in to the end")
		}
		for _, r := range h.revoked {
			time.Sleep(time.Until(r.at.Add(bound + slack)))
			for _, p := range m.places {
				there := h.at(p.now())
				m.counts.add(checks, "revoked grant at an instance")
				for _, token := range r.tokens {
					if a := there.call(token.access); a.status != http.StatusUnauthorized {
						m.counts.violation(outlived, "/mcp answers %d %s, %s after", a.status, a.body, time.Since(r.at))
					}
				}
				// One for all: each refresh of a dead grant is the same answer.
				last := r.tokens[rand.N(len(r.tokens))]
				if a := there.refresh(last.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
					m.counts.violation(refreshed, "/token answers %d %s", a.status, a.body)
				}
			}
		}
	}
}

// monkey does the damage, one kind at a time.
type monkey struct {
	counts *counts
	places []*place
	wire   *faultproxy.Proxy // to the tenant
	start  func(*place) *stack.Instance
	todo   []int // kinds of damage, so that each has its turn before any has another
}

// act does one thing, for less than left, and leaves a short rest after it.
func (m *monkey) act(left time.Duration) {
	p := m.places[rand.N(len(m.places))]
	lasts := min(500*time.Millisecond+rand.N(2500*time.Millisecond), left)
	faults := []faultproxy.Fault{faultproxy.ResetRequests, faultproxy.ResetAnswers, faultproxy.Stall}
	fault := faults[rand.N(len(faults))]
	if len(m.todo) == 0 {
		m.todo = rand.Perm(6)
	}
	kind := m.todo[0]
	m.todo = m.todo[1:]
	switch kind {
	case 0, 1:
		m.counts.add(events, "instance killed")
		p.now().Kill()
		time.Sleep(rand.N(time.Second))
		m.start(p)
	case 2:
		// Now and then for longer than an instance may be ignorant of revocations.
		if rand.N(4) == 0 && left > 2*bound {
			lasts = bound + 2*time.Second
		}
		m.counts.add(events, "instance paused")
		i := p.now()
		i.Pause()
		time.Sleep(lasts)
		i.Resume()
	case 3:
		m.counts.add(events, "storage of one instance cut")
		p.tables.Set(fault)
		time.Sleep(lasts)
		p.tables.Set(faultproxy.None)
	case 4:
		m.counts.add(events, "storage of all instances cut")
		for _, p := range m.places {
			p.tables.Set(fault)
		}
		time.Sleep(lasts)
		for _, p := range m.places {
			p.tables.Set(faultproxy.None)
		}
	case 5:
		m.counts.add(events, "tenant cut")
		m.wire.Set(fault)
		time.Sleep(lasts)
		m.wire.Set(faultproxy.None)
	}
	time.Sleep(rand.N(time.Second))
}

// What is counted, beside violations.
const (
	events = "event"
	checks = "check"
)

// The kinds of violation.
const (
	loggedOut = "an honest client was logged out"
	codeLost  = "an honest client's code was refused"
	twice     = "a code was redeemed for another verifier"
	outlived  = "a revoked access token was accepted after 15 s"
	refreshed = "a revoked refresh token was accepted"
	odd       = "an answer that tells a client nothing"
)

// counts are how often what happened.
type counts struct {
	mu    sync.Mutex
	n     map[string]int
	notes []string
}

func (c *counts) add(group, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[group+": "+kind]++
}

func (c *counts) violation(kind, format string, args ...any) {
	c.add("violation", kind)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, time.Now().Format("15:04:05.000 ")+kind+": "+fmt.Sprintf(format, args...))
}

// report fails for any violation, and where there was nothing to see.
func (c *counts) report(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kind := range []string{loggedOut, codeLost, twice, outlived, refreshed, odd} {
		c.n["violation: "+kind] += 0
	}
	var lines strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(c.n)) {
		fmt.Fprintf(&lines, "%6d  %s\n", c.n[kind], kind)
	}
	t.Logf("\n%s", lines.String())
	for _, note := range c.notes {
		t.Error(note)
	}
	for _, kind := range []string{
		events + ": answer lost", events + ": token request delivered twice", events + ": no answer",
		checks + ": signed in", checks + ": refreshed", checks + ": called", checks + ": code with another verifier",
		checks + ": revoked", checks + ": revoked grant at an instance",
		checks + ": signed in to the end", checks + ": tokens of a clock ahead", checks + ": tokens of a clock behind",
	} {
		if c.n[kind] == 0 {
			t.Errorf("there was no %q", kind)
		}
	}
}
