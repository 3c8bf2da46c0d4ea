package handler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/telemetry"
	"entramcp/handler/warnings"
)

const (
	// watchEvery is how often the server looks for what will stop working.
	watchEvery = time.Minute
	// sayEvery is how often a warning that stays is said again.
	sayEvery = 24 * time.Hour
)

// warnings are what the operator should know now. No network.
func (s *Server) warnings(ctx context.Context) []warnings.Warning { return warnings.Of(s.facts(ctx)) }

func (s *Server) facts(ctx context.Context) warnings.Facts {
	f := warnings.Facts{
		Now: s.deps.Now(), SecretRefused: s.entra.SecretRefused(), ClockAhead: s.entra.ClockAhead(),
		NewestKey: s.ring.Newest(), RotateAfter: keyring.Period,
		Swept: s.sweep.Done(), SweepEvery: s.cfg.SweepInterval, Documents: s.clients.NotFetchable(),
	}
	if !s.cfg.Entra.ClientSecret.IsZero() {
		f.SecretEnds = s.cfg.Entra.SecretExpires
	}
	if ends, used, err := s.entra.CertificateExpiry(ctx); used && err == nil {
		f.CertificateEnds = ends
	}
	// An instance that has just started cannot know better.
	if f.Swept.Before(s.started) {
		f.Swept = s.started
	}
	return f
}

// watch writes each warning to the log when it begins and once a day while it
// stays, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	said := map[warnings.Name]time.Time{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s.sayWarnings(ctx, said)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) sayWarnings(ctx context.Context, said map[warnings.Name]time.Time) {
	now := s.deps.Now()
	standing := map[warnings.Name]bool{}
	for _, w := range s.warnings(ctx) {
		standing[w.Name] = true
		if last, known := said[w.Name]; known && now.Sub(last) < sayEvery {
			continue
		}
		said[w.Name] = now
		s.deps.Log.WarnContext(ctx, "this will stop working", slog.String("warning", string(w.Name)), slog.String("summary", w.Summary), slog.String("fix", w.Fix))
	}
	for name := range said {
		if !standing[name] {
			delete(said, name)
			s.deps.Log.InfoContext(ctx, "a warning is over", slog.String("over", string(name)))
		}
	}
}

// measure registers metrics whose values are read when they are collected.
func (s *Server) measure() error {
	t := s.deps.Telemetry
	age := func(of func() time.Time) func() (float64, bool) {
		return func() (float64, bool) {
			at := of()
			return s.deps.Now().Sub(at).Seconds(), !at.IsZero()
		}
	}
	looks := func(of func() (hits, misses int64)) func() telemetry.Counts {
		return func() telemetry.Counts {
			hits, misses := of()
			return telemetry.Counts{"hit": hits, "miss": misses}
		}
	}
	return errors.Join(
		t.Gauge("entramcp.revocation.lag", "s", "Age of this instance's list of revocations, while there are requests.", func() (float64, bool) {
			lag, known := s.grants.RevocationLag()
			return lag.Seconds(), known
		}),
		t.Gauge("entramcp.key.age", "s", "Age of the newest epoch of the key ring.", age(s.ring.Newest)),
		t.Gauge("entramcp.sweep.lag", "s", "Time since a sweep was last finished, by any instance.", age(s.sweep.Done)),
		t.Gauge("entramcp.entra.clock.ahead", "s", "By how much this machine's clock is ahead of Entra's.", func() (float64, bool) {
			return s.entra.ClockAhead().Seconds(), true
		}),
		t.Gauge("entramcp.warnings", "{warning}", "Warnings of what will stop working.", func() (float64, bool) {
			return float64(len(s.warnings(context.Background()))), true
		}),
		t.Counter("entramcp.overload.requests", "{request}", "Requests without a valid access token that were refused because of their number.", "outcome", func() telemetry.Counts {
			return telemetry.Counts{"refused": s.anonymous.Refused() + s.refreshes.Refused()}
		}),
		t.Counter("entramcp.overload.calls", "{call}", "Calls that were refused because the processors could not keep up.", "outcome", func() telemetry.Counts {
			return telemetry.Counts{"refused": s.admission.Refused()}
		}),
		t.Counter("entramcp.tokens.verified", "{token}", "Access tokens of calls, by whether they had been verified before.", "cache", looks(s.grants.VerifiedTokens)),
		t.Counter("entramcp.clients.read", "{client}", "Reads of a client's registration, by whether it was in memory.", "cache", looks(s.clients.CachedClients)),
	)
}
