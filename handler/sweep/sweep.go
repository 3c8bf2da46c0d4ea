// Package sweep removes expired rows from the table.
//
// The profile of a Functions custom handler allows no timer trigger, so every
// instance runs a Sweeper, and a lease row in the table lets one of them work at a
// time. A sweep continues until no expired row is left, and pauses after each batch
// for as long as the batch took, so that requests get at least half of the store's
// capacity. Sweeps may run late, twice or at once without harm: a row is removed
// only if it is unchanged since it was listed.
//
// The kinds of rows are given by the packages that own them: see [Kind].
package sweep

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"entramcp/handler/store"
)

// Margin is how long after its Expires a row is removed. Instances do not agree
// on the time: a row that is over by the sweeper's clock may be within its life
// by the clock of the instance that is about to use it.
const Margin = 5 * time.Minute

// Kind is one kind of row, as its owner describes it.
type Kind struct {
	// Name is what reports call it.
	Name string
	// Prefix begins the names of its partitions if it ends in "-", and is the
	// name of its one partition otherwise.
	Prefix string
	// Before, if not nil, is called with expired rows of this kind that are
	// about to be removed, at most store.MaxDrop of them. If it fails they
	// stay for the next sweep, and this one continues.
	Before func(ctx context.Context, rows []store.Row) error
}

func (k Kind) holds(partition string) bool {
	if strings.HasSuffix(k.Prefix, "-") {
		return strings.HasPrefix(partition, k.Prefix)
	}
	return partition == k.Prefix
}

// Options configure a Sweeper. All but Log are required.
type Options struct {
	Table store.Table
	// Kinds are what may be removed. Rows of other partitions are left to the
	// version of the server that knows what depends on them.
	Kinds []Kind
	// Interval is the time between two sweeps. Every wait is between 80 and
	// 120 percent of it; the first is a tenth, because an instance may not live
	// for a whole one. A sweep that takes longer is reported as behind.
	Interval time.Duration
	Now      func() time.Time
	Log      *slog.Logger
}

// Sweeper removes expired rows. It is safe for concurrent use.
type Sweeper struct {
	opts Options
	done atomic.Int64 // UnixNano of Done; 0 unknown
}

// Done is when a sweep was last finished, by any instance, as far as this one
// knows; zero if it knows of none.
func (s *Sweeper) Done() time.Time {
	if at := s.done.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}

// learn notes that a sweep was finished at a time.
func (s *Sweeper) learn(at time.Time) {
	if at.After(s.Done()) {
		s.done.Store(at.UnixNano())
	}
}

// New returns a Sweeper without any I/O.
func New(opts Options) *Sweeper {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Sweeper{opts: opts}
}

// Run sweeps at intervals until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	for wait := s.opts.Interval / 10; ; wait = s.opts.Interval {
		if pause(ctx, jittered(wait)) != nil {
			return
		}
		_, _ = s.Once(ctx) // it is in the log, and the rest is for a later sweep
	}
}

// Once sweeps, if no other instance holds the lease; else it returns a Report
// whose Held is true. An error leaves the rest to a later sweep.
func (s *Sweeper) Once(ctx context.Context) (Report, error) {
	now := s.opts.Now()
	held, err := s.acquire(ctx, now)
	if errors.Is(err, errHeld) {
		return Report{Held: true}, nil
	}
	work := &work{Sweeper: s, lease: held, began: now, report: Report{Removed: map[string]int{}}}
	if err == nil {
		err = work.run(ctx)
	}
	work.report.Duration = s.opts.Now().Sub(now)
	switch {
	case errors.Is(err, errHeld):
		// It stalled for longer than its lease, and another went on.
		err = nil
	case err != nil:
		s.opts.Log.WarnContext(ctx, "sweep ended early", "sweep", work.report, "cause", err)
	case work.behind():
		s.opts.Log.WarnContext(ctx, "a sweep ended, but is behind", "sweep", work.report)
	default:
		s.opts.Log.InfoContext(ctx, "swept", "sweep", work.report)
	}
	return work.report, err
}

// jittered is between 80 and 120 percent of d, so that instances which were
// started together do not stay together.
func jittered(d time.Duration) time.Duration { return d*8/10 + rand.N(d*4/10+1) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
