package grants

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"entramcp/handler/store"
)

const (
	pollEvery = 5 * time.Second
	// pollTail is how long polling goes on after the last request, so that
	// a client that calls now and then does not wait for a poll each time.
	pollTail = 2 * time.Minute
	// pollWait bounds what a request waits for when the list is too old.
	pollWait = 2 * time.Second
	// settleBatch bounds the grants completed after one poll.
	settleBatch = 32
)

// revokedList is this instance's copy of the revoked partition. A revocation is
// never undone, so the copy only ever lacks the newest ones.
type revokedList struct {
	current atomic.Pointer[revokedCopy]
	mu      sync.Mutex // held to change current and the maps below
	// open are revocations whose grant this instance has not seen marked.
	open map[string]revocation
	done map[string]struct{}
}

type revokedCopy struct {
	// asOf is when the listing began; zero if none has succeeded yet.
	asOf  time.Time
	until map[string]time.Time // by grant
}

func (l *revokedList) has(id string) bool {
	c := l.current.Load()
	if c == nil {
		return false
	}
	_, ok := c.until[id]
	return ok
}

// staleAt reports whether the copy is too old to be relied upon.
func (l *revokedList) staleAt(now time.Time) bool {
	c := l.current.Load()
	return c == nil || c.asOf.IsZero() || now.Sub(c.asOf) > MaxStale
}

// add notes one revocation without waiting for the next listing.
func (l *revokedList) add(id string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &revokedCopy{until: map[string]time.Time{}}
	if c := l.current.Load(); c != nil {
		next.asOf = c.asOf
		maps.Copy(next.until, c.until)
	}
	next.until[id] = until
	l.current.Store(next)
}

// replace takes over a listing that began at asOf. What was added while it ran
// stays.
func (l *revokedList) replace(asOf time.Time, rows []store.Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &revokedCopy{asOf: asOf, until: make(map[string]time.Time, len(rows))}
	open, done := map[string]revocation{}, map[string]struct{}{}
	for _, row := range rows {
		next.until[row.Key] = row.Expires
		if _, ok := l.done[row.Key]; ok {
			done[row.Key] = struct{}{}
			continue
		}
		var r revocation
		if json.Unmarshal(row.Value, &r) == nil {
			open[row.Key] = r
		}
	}
	if c := l.current.Load(); c != nil {
		for id, until := range c.until {
			if _, ok := next.until[id]; !ok && asOf.Before(until) {
				next.until[id] = until
			}
		}
	}
	l.open, l.done = open, done
	l.current.Store(next)
}

// settled notes that the grant's own row says it is revoked.
func (l *revokedList) settled(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = map[string]struct{}{}
	}
	l.done[id] = struct{}{}
	delete(l.open, id)
}

func (l *revokedList) unsettled(limit int) map[string]revocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]revocation{}
	for id, r := range l.open {
		if len(out) == limit {
			break
		}
		out[id] = r
	}
	return out
}

// Run reads the list of revoked grants and keeps it fresh while there are
// requests, until ctx ends. Without it, a request now and then waits for the
// list.
func (s *Service) Run(ctx context.Context) {
	s.refreshRevoked(ctx)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.now().Unix()-s.lastUse.Load() < int64(pollTail.Seconds()) {
				s.refreshRevoked(ctx)
			}
		}
	}
}

func (s *Service) refreshRevoked(ctx context.Context) {
	if err := s.poll(ctx, pollEvery); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "list of revoked grants not read", slog.Any("cause", err))
		return
	}
	s.settle(ctx)
}

// settle completes revocations whose author died between its two writes.
func (s *Service) settle(ctx context.Context) {
	for id, begun := range s.revoked.unsettled(settleBatch) {
		r, err := s.read(ctx, begun.Subject, id)
		if err == nil {
			err = s.mark(ctx, r, begun.Reason)
		} else if ended(err) {
			s.revoked.settled(id)
			continue
		}
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "revocation not completed", slog.String("grant_id", id), slog.Any("cause", err))
			return
		}
	}
}

// fresh makes sure that the list is at most MaxStale old. Not knowing what has
// been revoked is a 503.
func (s *Service) fresh(ctx context.Context) error {
	if !s.revoked.staleAt(s.now()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	if err := s.poll(ctx, pollWait); err != nil {
		return unavailable(err)
	}
	return nil
}

// poll reads the revoked partition once for all who wait for it.
func (s *Service) poll(ctx context.Context, limit time.Duration) error {
	result := s.polls.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		asOf := s.now()
		var rows []store.Row
		for cursor := store.Cursor(""); ; {
			page, err := s.table.List(ctx, store.Partition(revokedPartition), cursor)
			if err != nil {
				return nil, err
			}
			rows = append(rows, page.Rows...)
			if cursor = page.Next; cursor == "" {
				s.revoked.replace(asOf, rows)
				return nil, nil
			}
		}
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r := <-result:
		return r.Err
	}
}

// noteRequest notes that there is traffic.
func (s *Service) noteRequest() { s.lastUse.Store(s.now().Unix()) }
