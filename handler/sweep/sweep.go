// Package sweep removes expired rows from the table.
//
// Azure Table Storage has no time to live, and a function app of this kind can
// have no timer function, so every instance runs a Sweeper in its process. A
// lease row lets one of them work at a time. Nothing depends on that for
// correctness: rows that somebody may still change are removed by ETag, so two
// sweeps at once, or one that was killed midway, only waste requests.
package sweep

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"time"

	"entramcp/handler/store"
)

// Margin is how long after its Expires a row is removed. Instances do not agree
// on the time: a row that is over by the sweeper's clock may be within its life
// by the clock of the instance that is about to use it.
const Margin = 5 * time.Minute

// Options of a Sweeper. Zero values mean the defaults.
type Options struct {
	Table store.Table
	// Interval between two runs, 15 minutes by default. Every wait is
	// between 80 and 120 percent of it.
	Interval time.Duration
	// MaxRows bounds the rows that one run removes, 10,000 by default. A run
	// may exceed it by one Drop.
	MaxRows int
	// MaxTime bounds one run, 1 minute by default. A run may exceed it by the
	// time of one call to the table.
	MaxTime time.Duration
	Now     func() time.Time
	Rand    io.Reader
	Log     *slog.Logger
}

// Sweeper removes expired rows. It is safe for concurrent use.
type Sweeper struct{ opts Options }

// New returns a Sweeper without any I/O.
func New(opts Options) *Sweeper {
	if opts.Interval <= 0 {
		opts.Interval = 15 * time.Minute
	}
	if opts.MaxRows <= 0 {
		opts.MaxRows = 10_000
	}
	if opts.MaxTime <= 0 {
		opts.MaxTime = time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Sweeper{opts: opts}
}

// Run sweeps at intervals until ctx ends. It begins within a tenth of the
// interval, because an instance may not live for a whole one.
func (s *Sweeper) Run(ctx context.Context) {
	wait := s.jittered(s.opts.Interval / 10)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		report, err := s.Once(ctx)
		wait = s.jittered(s.opts.Interval)
		if report.More && err == nil {
			wait = s.jittered(s.opts.Interval / 10)
		}
	}
}

// Once does one run, if no other instance holds the lease; else it returns a
// Report whose Held is true. An error leaves the rest to a later run.
func (s *Sweeper) Once(ctx context.Context) (Report, error) {
	lease, err := s.acquire(ctx)
	if errors.Is(err, errHeld) {
		return Report{Held: true}, nil
	}
	if err != nil {
		s.log(ctx, Report{}, err)
		return Report{}, err
	}
	began := s.opts.Now()
	pass := &pass{Sweeper: s, began: began, at: place{Before: began.Add(-Margin)}, report: Report{Removed: map[string]int{}}}
	// A place from a clock that was ahead would take rows that are not over.
	if lease.at != nil && lease.at.Before.Before(pass.at.Before) {
		pass.at = *lease.at
	}
	if err = pass.run(ctx); err == nil {
		err = s.release(ctx, lease, pass)
	}
	pass.report.Duration = s.opts.Now().Sub(began)
	s.log(ctx, pass.report, err)
	return pass.report, err
}

func (s *Sweeper) log(ctx context.Context, report Report, err error) {
	if err != nil {
		s.opts.Log.WarnContext(ctx, "sweep ended early", "sweep", report, "cause", err)
		return
	}
	s.opts.Log.InfoContext(ctx, "swept", "sweep", report)
}

// jittered is between 80 and 120 percent of d, so that instances which were
// started together do not stay together.
func (s *Sweeper) jittered(d time.Duration) time.Duration {
	var b [2]byte
	if _, err := io.ReadFull(s.opts.Rand, b[:]); err != nil {
		return d
	}
	return d*8/10 + d*4/10*time.Duration(binary.BigEndian.Uint16(b[:]))/(1<<16)
}
