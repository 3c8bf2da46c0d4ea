package keyring_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// model is four instances on one table with one clock, and all they sealed.
type model struct {
	tb        *testing.T
	clock     *clocktest.Clock
	inner     store.Table
	table     *storetest.Instrumented
	away      bool // table
	instances []*keyring.Ring
	artefacts []artefact
}

type artefact struct {
	sealed  string
	content string
	until   time.Time
}

// TestWhatAnyInstanceSealsEveryInstanceOpensUntilItExpires draws random
// interleavings of sealing, rotation, races, restarts, outages and sweeps.
func TestWhatAnyInstanceSealsEveryInstanceOpensUntilItExpires(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inner := newTable(t)
		m := &model{tb: t, clock: clocktest.New(), inner: inner, table: storetest.Instrument(inner)}
		for range 4 {
			m.instances = append(m.instances, m.start())
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"seal":    m.seal,
			"wait":    m.wait,
			"load":    func(rt *rapid.T) { _ = m.pick(rt).Load(m.tb.Context()) },
			"rotate":  func(rt *rapid.T) { _ = m.pick(rt).Rotate(m.tb.Context()) },
			"race":    m.race,
			"restart": func(rt *rapid.T) { m.instances[rapid.IntRange(0, 3).Draw(rt, "instance")] = m.start() },
			"outage":  m.outage,
			"repair":  m.repair,
			"sweep":   func(*rapid.T) { sweep(m.tb, m.inner, m.clock.Now()) },
		})
	})
}

func (m *model) start() *keyring.Ring {
	return newRing(m.tb, m.table, masterKey(m.tb, keyA), m.clock)
}

func (m *model) pick(rt *rapid.T) *keyring.Ring {
	return m.instances[rapid.IntRange(0, 3).Draw(rt, "instance")]
}

func (m *model) wait(rt *rapid.T) {
	m.clock.Advance(rapid.SampledFrom([]time.Duration{
		time.Second, keyring.UnknownInterval, 5 * time.Minute, 10 * time.Minute, time.Hour, day, 12 * day, 31 * day,
	}).Draw(rt, "wait"))
}

func (m *model) outage(*rapid.T) {
	m.table.Before(storetest.Fail(errStorage))
	m.away = true
}

// repair waits as long as a failed load is remembered.
func (m *model) repair(*rapid.T) {
	m.table.Repair()
	m.away = false
	m.clock.Advance(2 * time.Second)
}

func (m *model) race(*rapid.T) {
	var group sync.WaitGroup
	for _, r := range m.instances {
		group.Go(func() { _ = r.Load(m.tb.Context()) })
		group.Go(func() { _ = r.Rotate(m.tb.Context()) })
	}
	group.Wait()
}

func (m *model) seal(rt *rapid.T) {
	now := m.clock.Now()
	content := fmt.Sprint(len(m.artefacts))
	sealed, err := m.pick(rt).Seal(m.tb.Context(), keyring.RefreshHandle, []byte("ad"), []byte(content))
	if err != nil {
		if !m.away {
			rt.Fatalf("seal with storage up: %v", err)
		}
		return
	}
	m.artefacts = append(m.artefacts, artefact{sealed, content, now.Add(90 * day)})
	for i, e := range epochsOf(m.tb, m.inner) {
		if e.KeyID != sealed[:12] {
			continue
		}
		if now.Before(e.Activates) {
			rt.Fatalf("epoch %s signs %s before it is active", e.KeyID, e.Activates.Sub(now))
		}
		if first := i == 0 && e.Created.Equal(e.Activates); !first && e.Activates.Sub(e.Created) < 10*time.Minute {
			rt.Fatalf("epoch %s was readable for only %s", e.KeyID, e.Activates.Sub(e.Created))
		}
		return
	}
	rt.Fatalf("sealed with an epoch that is not in the table")
}

func (m *model) check(rt *rapid.T) {
	seen := map[string]bool{}
	for _, e := range epochsOf(m.tb, m.inner) {
		if seen[e.KeyID] {
			rt.Fatalf("epoch %s is there twice", e.KeyID)
		}
		seen[e.KeyID] = true
	}
	r := m.pick(rt)
	for _, a := range m.artefacts {
		if m.clock.Now().After(a.until) {
			continue
		}
		got, err := r.Open(m.tb.Context(), keyring.RefreshHandle, []byte("ad"), a.sealed)
		switch {
		case errors.Is(err, keyring.ErrNotOurs):
			rt.Fatalf("someone was signed out: artefact %s, valid until %s, is refused", a.content, a.until)
		case err != nil && !m.away && !errors.Is(err, errStorage):
			rt.Fatalf("open: %v", err)
		case err == nil && string(got) != a.content:
			rt.Fatalf("opened %q, want %q", got, a.content)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	r := newRing(b, newTable(b), masterKey(b, keyA), clocktest.New())
	handle, ad := make([]byte, 64), []byte("g-0123456789abcdef/row")
	for b.Loop() {
		if _, err := r.Seal(b.Context(), keyring.RefreshHandle, ad, handle); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	r := newRing(b, newTable(b), masterKey(b, keyA), clocktest.New())
	ad := []byte("g-0123456789abcdef/row")
	sealed, err := r.Seal(b.Context(), keyring.RefreshHandle, ad, make([]byte, 64))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := r.Open(b.Context(), keyring.RefreshHandle, ad, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSigningAndHMAC(b *testing.B) {
	r := newRing(b, newTable(b), masterKey(b, keyA), clocktest.New())
	token := make([]byte, 600)
	for b.Loop() {
		_, key, err := r.Signing(b.Context(), keyring.AccessToken)
		if err != nil {
			b.Fatal(err)
		}
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write(token)
		_ = mac.Sum(nil)
	}
}
