package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Partitions of the table that hold what this package announces.
const (
	// RevocationPrefix begins the partitions of revocations: one for each hour
	// (UTC) in which they were stamped, r-2026112611. The key begins with the
	// stamp, so that what came after a moment is a range of keys. Rows are
	// written once and never changed.
	RevocationPrefix = "r-"
	// LegacyRevocationPartition is where versions before the hourly partitions
	// keep all revocations, by grant.
	LegacyRevocationPartition = "revoked"
)

const (
	// pollInterval is how often Run reads what was announced.
	pollInterval = 5 * time.Second
	// pollTail is how long reading goes on after the last request, so that a
	// client that calls now and then does not wait for it each time.
	pollTail = 2 * time.Minute
	// pollLimit bounds one reading, whoever started it.
	pollLimit = 30 * time.Second
	// pollWait bounds what one request waits for a reading.
	pollWait = 2 * time.Second
	// rereadWindow is read again each time: rows are stamped by the writer's
	// clock before they are written.
	rereadWindow = 5 * time.Minute
	// noticeLifetime is how long at least an announcement can be read.
	noticeLifetime = time.Hour
	// lateWrite is how long writing a row may take. A row that took longer may
	// lie before what other instances still read, and is written again.
	lateWrite = 30 * time.Second
	// completionBatch bounds the grants read after one poll.
	completionBatch = 32
	// parallelReads bounds the partitions that are read at the same time.
	parallelReads = 4
)

// A revocation announces to every instance what is no longer valid.
type revocation struct {
	Version int       `json:"v,omitempty"`
	Kind    string    `json:"kind,omitempty"` // empty: of a grant
	Subject Subject   `json:"sub,omitempty"`
	Grant   string    `json:"gid,omitempty"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
	// IssuedBefore, if set, revokes only the access tokens that were issued
	// before it; the grant stays.
	IssuedBefore time.Time `json:"before,omitzero"`
}

// Kinds of announcements that are not revocations of a grant.
const (
	blocksChanged = "blocks"
	keysChanged   = "keys"
)

const revocationVersion = 1

const hourLayout = "2006010215"

func hourPartition(t time.Time) string { return RevocationPrefix + t.UTC().Format(hourLayout) }

// stampKey begins the key of a row: milliseconds since 1970, which have 13
// digits until the year 2286.
func stampKey(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) + "-" }

func (v revocation) row(expires time.Time) (store.Row, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return store.Row{}, err
	}
	suffix := v.Grant
	if suffix == "" {
		suffix = oauth.RandomID()
	}
	return store.Row{
		Partition: hourPartition(v.At), Key: stampKey(v.At) + suffix, Value: value,
		Expires: expires.UTC().Truncate(time.Second),
	}, nil
}

func decodeRevocation(row store.Row) (revocation, error) {
	var v revocation
	if err := json.Unmarshal(row.Value, &v); err != nil {
		return v, fmt.Errorf("revocation %s/%s is damaged: %w", row.Partition, row.Key, err)
	}
	if row.Partition == LegacyRevocationPartition {
		v.Grant = row.Key
	}
	return v, nil
}

// revocationList is this instance's copy of what was revoked. Nothing of it is
// taken back, so the copy only ever lacks the newest.
//
// An entry stays until the tokens of its grant have expired and the grant itself
// is known to be marked or gone: a revocation whose author ended between its two
// writes is never forgotten.
type revocationList struct {
	mu     sync.RWMutex
	grants map[string]*revokedGrant
	// heeded are announcements that the last reading found, by row key. What
	// is not found again is older than what is read again.
	heeded map[string]struct{}
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
func (l *revocationList) add(v revocation, until time.Time) {
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

// unheeded returns the kinds of announcements that were not acted upon yet.
func (l *revocationList) unheeded(found map[string]string) map[string]bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	kinds := map[string]bool{}
	for key, kind := range found {
		if _, known := l.heeded[key]; !known {
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

// setReadAt notes a complete reading that began at asOf and found the given
// announcements, which have been acted upon.
func (l *revocationList) setReadAt(asOf time.Time, found map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asOf = asOf
	l.heeded = make(map[string]struct{}, len(found))
	for key := range found {
		l.heeded[key] = struct{}{}
	}
}

// drop forgets what no longer matters at now, and returns up to limit entries
// that are to be completed first.
func (l *revocationList) drop(now time.Time, limit int) map[string]revokedGrant {
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

// staleAt reports whether the copy is too old to be relied upon.
func (l *revocationList) staleAt(now time.Time) bool {
	asOf := l.readAt()
	return asOf.IsZero() || now.Sub(asOf) > MaxStale
}

// Run reads what was announced and keeps it current while there are requests,
// until ctx ends. Without it, a request now and then waits for the reading.
func (s *Service) Run(ctx context.Context) {
	s.poll(ctx)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.now().Unix()-s.lastRequest.Load() < int64(pollTail.Seconds()) {
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
	for id, g := range s.revoked.drop(s.now(), completionBatch) {
		if err := s.complete(ctx, g.subject, id, g.reason); err != nil {
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

// awaitReading reads once for all who wait for it.
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
	last := s.revoked.readAt()
	from := min(last.UnixMilli(), now.UnixMilli()) - rereadWindow.Milliseconds()
	if last.IsZero() {
		from = 0
	}
	first := time.UnixMilli(from).UTC()
	// The hours in which something can matter to a token are read in parallel.
	// What is before them can matter to a grant that was never marked; the
	// sweep leaves few of these rows.
	hour := now.Add(-s.tokenLifetime()).UTC().Truncate(time.Hour)
	var found notices
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	read := func(span store.Span) {
		group.Go(func() error { return s.readRevocations(gctx, span, last.IsZero(), &found) })
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
	missed := now.Sub(last) > noticeLifetime/2
	news := s.revoked.unheeded(found.rows)
	if missed || news[blocksChanged] {
		if err := s.loadBlocks(ctx); err != nil {
			return err
		}
	}
	if (missed && !last.IsZero()) || news[keysChanged] {
		if err := s.ring.Load(ctx); err != nil {
			return err
		}
		s.forgetVerified()
	}
	s.revoked.setReadAt(now, found.rows)
	return nil
}

// notices are the kinds of the announcements that one reading has found, by row
// key.
type notices struct {
	mu   sync.Mutex
	rows map[string]string
}

func (s *Service) readRevocations(ctx context.Context, span store.Span, first bool, found *notices) error {
	for cursor := store.Cursor(""); ; {
		page, err := s.table.List(ctx, span, cursor)
		if err != nil {
			return err
		}
		for _, row := range page.Rows {
			v, err := decodeRevocation(row)
			switch {
			case err != nil:
				s.log.LogAttrs(ctx, slog.LevelError, "a revocation cannot be read", slog.Any("cause", err))
			case v.Grant != "" && row.Partition == LegacyRevocationPartition && !first && !s.now().Before(row.Expires):
				// Read again each time until it is swept, but dealt with.
			case v.Grant != "":
				s.revoked.add(v, s.lastsUntil(v, row))
			default:
				found.add(row.Key, v.Kind)
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (n *notices) add(key, kind string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.rows == nil {
		n.rows = map[string]string{}
	}
	n.rows[key] = kind
}

// tokenLifetime is how long after its revocation an access token can be valid on
// any instance.
func (s *Service) tokenLifetime() time.Duration { return s.accessLifetime + leeway }

// lastsUntil is when no token that v is about can be valid any more, and its row
// is not read again. Versions before the hourly partitions extend their rows.
func (s *Service) lastsUntil(v revocation, row store.Row) time.Time {
	until := v.At.Add(max(s.tokenLifetime(), 2*rereadWindow))
	if row.Partition == LegacyRevocationPartition && row.Expires.After(until) {
		until = row.Expires
	}
	return until
}

// publish announces v to every instance, for as long as any token that it is
// about can be valid.
func (s *Service) publish(ctx context.Context, v revocation) error {
	v.Version = revocationVersion
	for {
		begun := s.now()
		v.At = begun.UTC()
		lifetime := noticeLifetime
		if v.Grant != "" {
			lifetime = s.tokenLifetime()
		}
		row, err := v.row(begun.Add(lifetime + margin))
		if err != nil {
			return err
		}
		if _, err := s.table.Insert(ctx, row); err != nil && !errors.Is(err, store.ErrExists) {
			return unavailable(err)
		}
		if v.Grant != "" {
			s.revoked.add(v, s.lastsUntil(v, row))
		}
		if s.now().Sub(begun) <= lateWrite {
			return s.publishLegacy(ctx, v)
		}
	}
}

// complete marks the grant of a revocation, if that has not been done.
func (s *Service) complete(ctx context.Context, subject Subject, id, reason string) error {
	r, err := s.read(ctx, subject, id)
	if errors.Is(err, errNoGrant) {
		s.revoked.setMarked(id)
		return nil
	}
	if err != nil {
		return err
	}
	return s.mark(ctx, r, reason)
}

// CompleteRevocations marks the grants of revocations whose author ended between
// its two writes. The sweep calls it with expired rows of RevocationPrefix and
// LegacyRevocationPartition before it removes them. An error means that the rows
// must stay.
func (s *Service) CompleteRevocations(ctx context.Context, rows []store.Row) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for _, row := range rows {
		v, err := decodeRevocation(row)
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "a revocation cannot be read", slog.Any("cause", err))
			continue
		}
		if v.Grant == "" || !v.IssuedBefore.IsZero() {
			continue
		}
		group.Go(func() error { return s.complete(ctx, v.Subject, v.Grant, v.Reason) })
	}
	return group.Wait()
}

// AnnounceKeyChange makes every instance read the key ring again within MaxStale,
// and verify all tokens again. It is called after an epoch was retired.
func (s *Service) AnnounceKeyChange(ctx context.Context) error {
	if err := s.publish(ctx, revocation{Kind: keysChanged}); err != nil {
		return err
	}
	s.forgetVerified()
	return nil
}

// noteRequest notes that there is traffic.
func (s *Service) noteRequest() { s.lastRequest.Store(s.now().Unix()) }
