package grants

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"entramcp/handler/store"
)

const (
	// pollInterval is how often Run reads what was announced.
	pollInterval = 5 * time.Second
	// pollTail is how long reading goes on after the last request, so that a
	// client that calls now and then does not wait for it each time.
	pollTail = 2 * time.Minute
	// pollLimit bounds one reading, whichever request started it.
	pollLimit = 30 * time.Second
	// pollWait bounds what one request waits for a reading.
	pollWait = 2 * time.Second
	// rereadWindow is read again each time: rows are stamped by the writer's
	// clock before they are written.
	rereadWindow = 5 * time.Minute
	// completionBatch bounds the grants read after one poll.
	completionBatch = 32
	// parallelReads bounds the partitions that are read at the same time.
	parallelReads = 4
)

// revocationList is this instance's copy of the list of revocations. Revocations are
// never undone, so the copy can only lack the newest.
//
// An entry stays until the tokens of its grant have expired and the grant itself
// is known to be marked or gone: a revocation whose author ended between its two
// writes is never forgotten.
type revocationList struct {
	mu     sync.RWMutex
	grants map[string]*revokedGrant
	// handled are the announced changes that the last reading brought, by row
	// key. What it did not bring again is older than what is read again.
	handled map[string]struct{}
	// asOf is when the last complete reading began; zero before the first.
	asOf time.Time
}

// revokedGrant is an entry of the list.
type revokedGrant struct {
	subject Subject
	reason  string
	until   time.Time // when no access token that it is about can be valid
	// issuedBefore, if set, limits the entry to access tokens issued before.
	issuedBefore time.Time
	marked       bool // the grant's own row says so, or is gone
}

// has reports whether the grant was revoked.
func (l *revocationList) has(id string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.grants[id]
	return g != nil && g.issuedBefore.IsZero()
}

// hasToken reports whether an access token of the grant that was issued at
// issued was revoked.
func (l *revocationList) hasToken(id string, issued time.Time) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	g := l.grants[id]
	return g != nil && (g.issuedBefore.IsZero() || issued.Before(g.issuedBefore))
}

// add notes a revocation. It keeps what reaches further.
func (l *revocationList) add(v announcement, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grants == nil {
		l.grants = map[string]*revokedGrant{}
	}
	g := l.grants[v.Grant]
	if g == nil {
		l.grants[v.Grant] = &revokedGrant{subject: v.Subject, reason: v.Reason, until: until, issuedBefore: v.IssuedBefore}
		return
	}
	switch {
	case g.issuedBefore.IsZero():
	case v.IssuedBefore.IsZero():
		g.issuedBefore, g.reason, g.marked = time.Time{}, v.Reason, false
	case v.IssuedBefore.After(g.issuedBefore):
		g.issuedBefore = v.IssuedBefore
	}
	if until.After(g.until) {
		g.until = until
	}
}

// setMarked notes that the grant's own row says it is revoked, or is gone.
func (l *revocationList) setMarked(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.grants[id]; g != nil {
		g.marked = true
	}
}

// unhandled returns the kinds of announced changes that were not acted on yet.
func (l *revocationList) unhandled(read map[string]string) map[string]bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	kinds := map[string]bool{}
	for key, kind := range read {
		if _, known := l.handled[key]; !known {
			kinds[kind] = true
		}
	}
	return kinds
}

func (l *revocationList) readAt() time.Time {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.asOf
}

// setReadAt notes a complete reading that began at asOf and brought the given
// changes, which have been acted on.
func (l *revocationList) setReadAt(asOf time.Time, read map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asOf = asOf
	l.handled = make(map[string]struct{}, len(read))
	for key := range read {
		l.handled[key] = struct{}{}
	}
}

// forget forgets what no longer matters at now, and returns up to limit entries
// that are to be completed first.
func (l *revocationList) forget(now time.Time, limit int) map[string]revokedGrant {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := map[string]revokedGrant{}
	for id, g := range l.grants {
		switch {
		case now.Before(g.until):
		case g.marked, !g.issuedBefore.IsZero():
			delete(l.grants, id)
		case len(open) < limit:
			open[id] = *g
		}
	}
	return open
}

// staleAt reports whether the copy is too old to be relied on.
func (l *revocationList) staleAt(now time.Time) bool {
	asOf := l.readAt()
	return asOf.IsZero() || now.Sub(asOf) > MaxStale
}

// Run keeps the list current while there are requests, until ctx ends. Without it,
// some requests wait for a reading.
func (s *Service) Run(ctx context.Context) {
	s.poll(ctx)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.inUse() {
				s.poll(ctx)
			}
		}
	}
}

// poll reads what is new and forgets what is over.
func (s *Service) poll(ctx context.Context) {
	if err := s.awaitReading(ctx); err != nil {
		if ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "the list of revocations was not read", slog.Any("cause", err))
		}
		return
	}
	for id, g := range s.revoked.forget(s.now(), completionBatch) {
		if err := s.completeRevocation(ctx, g.subject, id, g.reason); err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a revocation was not completed", slog.String("grant_id", id), slog.Any("cause", err))
			return
		}
	}
}

// Ready returns nil if this instance knows what was revoked and blocked, as of
// at most MaxStale ago. It reads the table if need be.
func (s *Service) Ready(ctx context.Context) error { return s.ensureCurrent(ctx) }

// ensureCurrent makes sure that the list is at most MaxStale old. Not knowing
// what has been revoked is a 503. The reading that a request waits for goes on
// when the request gives up.
func (s *Service) ensureCurrent(ctx context.Context) error {
	if !s.revoked.staleAt(s.now()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	if err := s.awaitReading(ctx); err != nil {
		return unavailable(fmt.Errorf("the list of revocations is not current: %w", err))
	}
	return nil
}

// awaitReading reads once for all requests that wait.
func (s *Service) awaitReading(ctx context.Context) error {
	result := s.readings.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollLimit)
		defer cancel()
		return nil, s.readAnnouncements(ctx)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-result:
		return r.Err
	}
}

// readAnnouncements reads what was stamped since rereadWindow before the last
// complete reading, and the first time all there is. What it has read counts even
// if the rest fails.
func (s *Service) readAnnouncements(ctx context.Context) error {
	now := s.now()
	last := s.revoked.readAt() // before the first reading: in the year 1
	from := min(last.UnixMilli(), now.UnixMilli()) - rereadWindow.Milliseconds()
	first := time.UnixMilli(from).UTC()
	// The hours in which something can matter to a token are read in parallel.
	// What is before them can matter to a grant that was never marked; the
	// sweep leaves few of these rows.
	hour := now.Add(-s.tokenLifetime()).UTC().Truncate(time.Hour)
	var changed changes
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	read := func(span store.Span) {
		group.Go(func() error { return s.readRevocations(gctx, span, last.IsZero(), &changed) })
	}
	if first.Before(hour) {
		read(store.Span{First: hourPartition(first), Last: hourPartition(hour.Add(-time.Hour))})
	} else {
		hour = first.Truncate(time.Hour)
	}
	for ; !hour.After(now.Add(rereadWindow)); hour = hour.Add(time.Hour) {
		span := store.Partition(hourPartition(hour))
		if hour.Before(first) {
			span.FirstKey = stampKey(first)
		}
		read(span)
	}
	read(store.Partition(LegacyRevocationPartition))
	if err := group.Wait(); err != nil {
		return err
	}
	// After a pause, the sweep may have removed announcements unseen.
	missed := now.Sub(last) > changeLifetime/2
	unhandled := s.revoked.unhandled(changed.rows)
	if missed || unhandled[blocksChanged] {
		if err := s.loadBlocks(ctx); err != nil {
			return err
		}
	}
	if (missed && !last.IsZero()) || unhandled[keysChanged] {
		if err := s.ring.Load(ctx); err != nil {
			return err
		}
		s.forgetVerified()
	}
	s.revoked.setReadAt(now, changed.rows)
	return nil
}

// changes are the kinds of the changes that one reading has brought, by row key.
type changes struct {
	mu   sync.Mutex
	rows map[string]string
}

func (s *Service) readRevocations(ctx context.Context, span store.Span, first bool, changed *changes) error {
	for row, err := range store.Rows(ctx, s.table, span) {
		if err != nil {
			return err
		}
		v, err := decodeAnnouncement(row)
		switch {
		case err != nil:
			s.log.LogAttrs(ctx, slog.LevelError, "a revocation cannot be read", slog.Any("cause", err))
		case v.Grant != "" && row.Partition == LegacyRevocationPartition && !first && !s.now().Before(row.Expires):
			// Read again each time until it is swept, but dealt with.
		case v.Grant != "":
			s.revoked.add(v, s.lastsUntil(v, row))
		default:
			changed.add(row.Key, v.Kind)
		}
	}
	return nil
}

func (n *changes) add(key, kind string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.rows == nil {
		n.rows = map[string]string{}
	}
	n.rows[key] = kind
}

// RevocationLag is the age of this instance's list of revocations. It is only known
// while there are requests; without them the list is not read.
func (s *Service) RevocationLag() (lag time.Duration, known bool) {
	read := s.revoked.readAt()
	if read.IsZero() || !s.inUse() {
		return 0, false
	}
	return s.now().Sub(read), true
}

// VerifiedTokens counts the calls whose access token had been verified before on
// this instance, and those whose had not.
func (s *Service) VerifiedTokens() (hits, misses int64) { return s.hits.Load(), s.misses.Load() }

// noteRequest notes that there is traffic.
func (s *Service) noteRequest() { s.lastRequest.Store(s.now().Unix()) }

// inUse reports whether the last request was less than pollTail ago.
func (s *Service) inUse() bool {
	return s.now().Unix()-s.lastRequest.Load() < int64(pollTail.Seconds())
}
