package handler

import (
	"context"
	"errors"
	"time"

	"entramcp/handler/telemetry"
)

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
