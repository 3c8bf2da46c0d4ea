package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entramcp/handler/store"
)

// LeasePartition holds the lease, which is one row. Its Expires stays zero, so
// that no sweep removes it.
const (
	LeasePartition = "leases"
	leaseKey       = "sweep"
)

const (
	// term is how long a sweep may go without renewing its lease before it
	// counts as dead. It covers calls that are slow, and clocks apart.
	term = 3 * time.Minute
	// renewAfter is when it is renewed.
	renewAfter = time.Minute
)

var errHeld = errors.New("sweep: another instance holds the lease")

// leaseVersion is of records without a version too.
const leaseVersion = 1

type leaseRecord struct {
	Version int `json:"v"`
	// Until is when another instance may take the lease.
	Until time.Time `json:"until"`
	// Place is where a successor continues, should this sweep die. Whoever
	// takes the lease removes it, so that a place at which every sweep fails
	// is tried once, and the next one begins at the beginning.
	Place *place `json:"place,omitempty"`
	// Done is when a sweep was last finished.
	Done time.Time `json:"done,omitzero"`
}

// lease is one that this sweep holds.
type lease struct {
	place *place
	etag  store.ETag
	since time.Time
}

// acquire takes the lease with one conditional write, which one of any number
// of instances wins, or fails with errHeld.
func (s *Sweeper) acquire(ctx context.Context, now time.Time) (lease, error) {
	row, err := s.opts.Table.Get(ctx, LeasePartition, leaseKey)
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return lease{}, fmt.Errorf("sweep: read the lease: %w", err)
	}
	var record leaseRecord
	if !missing {
		if json.Unmarshal(row.Value, &record) != nil {
			record = leaseRecord{} // unreadable is as good as expired
		}
		if !record.Done.After(now.Add(Margin)) { // else from a clock that was wrong
			s.learn(record.Done)
		}
		if s.inForce(record, now) {
			return lease{}, errHeld
		}
	}
	etag, err := s.write(ctx, leaseRecord{Until: now.Add(term)}, row.ETag)
	if err != nil {
		return lease{}, err
	}
	return lease{place: record.Place, etag: etag, since: now}, nil
}

// inForce: a lease that reaches further than any sweeper grants comes from a
// clock that was wrong, and must not stop the sweeps until that clock is right.
func (s *Sweeper) inForce(record leaseRecord, now time.Time) bool {
	longest := max(term, s.opts.Interval) + Margin
	return record.Until.After(now) && record.Until.Before(now.Add(longest))
}

// renew keeps the lease if it is time to, and says so in the log when the sweep
// is behind. It fails with errHeld if another instance has taken over.
func (w *work) renew(ctx context.Context) error {
	now := w.opts.Now()
	if now.Sub(w.lease.since) < renewAfter {
		return nil
	}
	if w.behind() {
		w.opts.Log.WarnContext(ctx, "the sweep is behind", "began", w.began, "sweep", w.report)
	}
	etag, err := w.write(ctx, leaseRecord{Until: now.Add(term), Place: &w.at}, w.lease.etag)
	w.lease = lease{etag: etag, since: now}
	return err
}

// release ends the sweep. The lease stays in force for most of an interval, so
// that many instances do not sweep many times.
func (w *work) release(ctx context.Context) error {
	w.learn(w.opts.Now())
	_, err := w.write(ctx, leaseRecord{Until: w.opts.Now().Add(w.opts.Interval * 3 / 4)}, w.lease.etag)
	return err
}

// write replaces the lease of that version, or makes it if there is none. It
// fails with errHeld if another instance was first.
func (s *Sweeper) write(ctx context.Context, record leaseRecord, etag store.ETag) (store.ETag, error) {
	record.Version, record.Done = leaseVersion, s.Done()
	value, err := json.Marshal(record)
	if err != nil {
		return "", err
	}
	row := store.Row{Partition: LeasePartition, Key: leaseKey, ETag: etag, Value: value}
	if etag == "" {
		etag, err = s.opts.Table.Insert(ctx, row)
	} else {
		etag, err = s.opts.Table.Replace(ctx, row)
	}
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return "", errHeld
	case err != nil:
		return "", fmt.Errorf("sweep: write the lease: %w", err)
	}
	return etag, nil
}

// LastDone reads when a sweep was last finished; zero if none was, or by an earlier
// version only.
func LastDone(ctx context.Context, table store.Table) (time.Time, error) {
	row, err := table.Get(ctx, LeasePartition, leaseKey)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	var record leaseRecord
	if err == nil && json.Unmarshal(row.Value, &record) != nil {
		return time.Time{}, errors.New("sweep: the lease cannot be read")
	}
	return record.Done, err
}
