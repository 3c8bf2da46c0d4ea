package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"entramcp/handler/store"
)

// place is how far a sweep has come: a listing and a cursor of it.
type place struct {
	Before time.Time    `json:"before"`
	Cursor store.Cursor `json:"cursor"`
}

// work is one sweep.
type work struct {
	*Sweeper
	lease  lease
	began  time.Time
	at     place
	report Report
}

// behind: it has taken longer than the time in which the next one is due.
func (w *work) behind() bool { return w.opts.Now().Sub(w.began) > w.opts.Interval }

func (w *work) run(ctx context.Context) error {
	w.at = place{Before: w.began.Add(-Margin)}
	// A place from a clock that was ahead would take rows that are not over.
	if p := w.lease.place; p != nil && p.Before.Before(w.at.Before) {
		w.at = *p
	}
	for {
		step := time.Now()
		page, err := w.opts.Table.ListExpired(ctx, w.at.Before, w.at.Cursor)
		if errors.Is(err, store.ErrInvalid) && w.at.Cursor != "" {
			w.at.Cursor = "" // it was written for another store or by another version
			continue
		}
		if err != nil {
			return fmt.Errorf("sweep: list what has expired: %w", err)
		}
		for batch := range slices.Chunk(page.Rows, store.MaxDrop) {
			if err := w.remove(ctx, batch); err != nil {
				return err
			}
			if err := w.rest(ctx, step); err != nil {
				return err
			}
			step = time.Now()
		}
		if page.Next == "" {
			return w.release(ctx)
		}
		w.at.Cursor = page.Next
		if len(page.Rows) == 0 {
			if err := w.rest(ctx, step); err != nil {
				return err
			}
		}
	}
}

// remove drops the rows of the batch, but for those that their owners keep.
func (w *work) remove(ctx context.Context, batch []store.Row) error {
	kinds := map[int][]store.Row{}
	for _, row := range batch {
		i := slices.IndexFunc(w.opts.Kinds, func(k Kind) bool { return k.holds(row.Partition) })
		if i < 0 {
			w.report.Unknown++
			continue
		}
		kinds[i] = append(kinds[i], row)
	}
	for i, rows := range kinds {
		kind := w.opts.Kinds[i]
		if kind.Before != nil {
			if err := kind.Before(ctx, rows); err != nil {
				w.report.Kept += len(rows)
				w.opts.Log.WarnContext(ctx, "expired rows are kept, because the package that owns them is not ready to drop them",
					"kind", kind.Name, "rows", len(rows), "cause", err)
				continue
			}
		}
		n, err := w.opts.Table.Drop(ctx, rows)
		w.report.count(kind.Name, n, len(rows), w.began.Sub(oldest(rows)))
		if err != nil {
			return fmt.Errorf("sweep: drop %s: %w", kind.Name, err)
		}
	}
	return nil
}

func oldest(rows []store.Row) time.Time {
	return slices.MinFunc(rows, func(a, b store.Row) int { return a.Expires.Compare(b.Expires) }).Expires
}

// rest keeps the share of the store that a sweep takes at a half, and the lease
// in force. Time here is what the machine needs, whatever the clock says.
func (w *work) rest(ctx context.Context, since time.Time) error {
	if err := pause(ctx, time.Since(since)); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return w.renew(ctx)
}

// Report is what one sweep did.
type Report struct {
	// Held: another instance has the lease, and nothing was done.
	Held bool
	// Removed counts rows by kind.
	Removed map[string]int
	// Kept counts rows that had expired and stay: they were used before they
	// could be removed, or Kind.Before failed.
	Kept int
	// Unknown counts expired rows of no kind that this version knows.
	Unknown int
	// Oldest is how long the oldest row removed had been over.
	Oldest   time.Duration
	Duration time.Duration
}

// LogValue is the report as one group of attributes.
func (r Report) LogValue() slog.Value {
	total := 0
	removed := make([]any, 0, len(r.Removed))
	for _, kind := range slices.Sorted(maps.Keys(r.Removed)) {
		total += r.Removed[kind]
		removed = append(removed, slog.Int(kind, r.Removed[kind]))
	}
	return slog.GroupValue(
		slog.Int("total", total),
		slog.Group("removed", removed...),
		slog.Int("kept", r.Kept),
		slog.Int("unknown", r.Unknown),
		slog.Duration("oldest", r.Oldest),
		slog.Duration("duration", r.Duration),
	)
}

func (r *Report) count(kind string, removed, of int, age time.Duration) {
	r.Kept += of - removed
	if removed > 0 {
		r.Removed[kind] += removed
		r.Oldest = max(r.Oldest, age)
	}
}
