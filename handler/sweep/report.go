package sweep

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what one run did.
type Report struct {
	// Held: another instance has the lease, and nothing was done.
	Held bool
	// Removed counts rows by kind of record.
	Removed map[string]int
	// Kept counts rows that had expired when listed and were changed before
	// they could be removed.
	Kept int
	// More: the run ended at its bounds, and expired rows may be left.
	More     bool
	Duration time.Duration
}

// LogValue is the report as one group of attributes.
func (r Report) LogValue() slog.Value {
	removed := make([]any, 0, len(r.Removed))
	for _, kind := range slices.Sorted(maps.Keys(r.Removed)) {
		removed = append(removed, slog.Int(kind, r.Removed[kind]))
	}
	return slog.GroupValue(
		slog.Int("total", r.total()),
		slog.Group("removed", removed...),
		slog.Int("kept", r.Kept),
		slog.Bool("more", r.More),
		slog.Duration("duration", r.Duration),
	)
}

func (r Report) total() int {
	n := 0
	for _, count := range r.Removed {
		n += count
	}
	return n
}

func (r Report) count(partition string, n int) { r.Removed[kindOf(partition)] += n }

// kindOf names the records that a partition holds.
func kindOf(partition string) string {
	prefix, _, _ := strings.Cut(partition, "-")
	switch prefix {
	case "t":
		return "transactions"
	case "g":
		return "grants"
	case "c":
		return "clients"
	case "d":
		return "documents"
	case "ch":
		return "challenges"
	case "j":
		return "assertions"
	case "revoked", "keys", "leases":
		return prefix
	}
	return "other"
}
