package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entramcp/handler/store"
)

// The lease is one row. Its Expires stays zero, so that no sweep removes it.
const (
	leasePartition = "leases"
	leaseKey       = "sweep"
)

var errHeld = errors.New("sweep: another instance holds the lease")

type leaseRecord struct {
	// Until is when another instance may take the lease.
	Until time.Time `json:"until"`
	// At is where the next run continues, if the last one ended at its bounds:
	// runs that always do still get through the whole table. A run that is
	// under way has none, so that one which dies is followed by a fresh one.
	At *place `json:"at,omitempty"`
}

type lease struct {
	at   *place
	etag store.ETag
}

// term is how long a run may hold the lease before it counts as dead. The
// slack over MaxTime covers the last call and the skew of clocks.
func (s *Sweeper) term() time.Duration { return s.opts.MaxTime + 2*time.Minute }

// acquire takes the lease with one conditional write, which one of any number
// of instances wins.
func (s *Sweeper) acquire(ctx context.Context) (lease, error) {
	now := s.opts.Now()
	row, err := s.opts.Table.Get(ctx, leasePartition, leaseKey)
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return lease{}, fmt.Errorf("sweep: read the lease: %w", err)
	}
	var record leaseRecord
	if !missing {
		if json.Unmarshal(row.Value, &record) != nil {
			record = leaseRecord{} // unreadable is as good as expired
		}
		if s.holds(record, now) {
			return lease{}, errHeld
		}
	}
	etag, err := s.write(ctx, leaseRecord{Until: now.Add(s.term())}, row.ETag)
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return lease{}, errHeld
	case err != nil:
		return lease{}, fmt.Errorf("sweep: take the lease: %w", err)
	}
	return lease{at: record.At, etag: etag}, nil
}

// holds reports whether the lease is in force. One that reaches further than
// any sweeper grants comes from a clock that was wrong, and must not stop the
// sweeps until that clock is right.
func (s *Sweeper) holds(record leaseRecord, now time.Time) bool {
	longest := max(s.term(), s.opts.Interval) + Margin
	return record.Until.After(now) && record.Until.Before(now.Add(longest))
}

// release ends the run. After a complete one the lease stays in force for most
// of an interval, so that many instances do not sweep many times.
func (s *Sweeper) release(ctx context.Context, held lease, done *pass) error {
	now := s.opts.Now()
	record := leaseRecord{Until: now.Add(s.opts.Interval * 3 / 4)}
	if done.report.More {
		record = leaseRecord{Until: now, At: &done.at}
	}
	_, err := s.write(ctx, record, held.etag)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // this run took so long that another instance continued
	}
	if err != nil {
		return fmt.Errorf("sweep: end the lease: %w", err)
	}
	return nil
}

func (s *Sweeper) write(ctx context.Context, record leaseRecord, etag store.ETag) (store.ETag, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return "", err
	}
	row := store.Row{Partition: leasePartition, Key: leaseKey, ETag: etag, Value: value}
	if etag == "" {
		return s.opts.Table.Insert(ctx, row)
	}
	return s.opts.Table.Replace(ctx, row)
}
