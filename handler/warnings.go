package handler

import (
	"context"

	"entramcp/handler/keyring"
	"entramcp/handler/warnings"
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
	// Before the first sweep, the time since the start counts.
	if f.Swept.Before(s.started) {
		f.Swept = s.started
	}
	return f
}
