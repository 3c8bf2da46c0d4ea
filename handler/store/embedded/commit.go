package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
)

// commits makes the changes of concurrent callers. A commit takes as long as the disk
// takes to sync, twice; changes that arrive meanwhile wait and share the next commit.
// No change waits for others to arrive.
type commits struct {
	db *bbolt.DB

	mu      sync.Mutex
	waiting []*change
	running bool
}

// change is one caller's. do may run more than once, each time on what is there;
// only what the last run did is committed.
type change struct {
	ctx  context.Context
	do   func(buckets) error
	err  error
	done chan struct{}
}

// apply returns once the change is on disk, or did not happen.
func (c *commits) apply(ctx context.Context, do func(buckets) error) error {
	ch := &change{ctx: ctx, do: do, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, ch)
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	<-ch.done
	return ch.err
}

func (c *commits) run() {
	for {
		c.mu.Lock()
		batch := c.waiting
		c.waiting = nil
		if len(batch) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.commit(batch)
		for _, ch := range batch {
			close(ch.done)
		}
	}
}

var (
	// errAlone says that a change failed which may have been made in part: then none of
	// the batch is committed, and each is tried by itself.
	errAlone = errors.New("embedded: a change of the batch failed")
	// errNothing says that no change succeeded, so there is nothing to sync.
	errNothing = errors.New("embedded: nothing has changed")
)

func (c *commits) commit(batch []*change) {
	err := c.update(func(tx *bbolt.Tx) error {
		made := 0
		for _, ch := range batch {
			switch ch.err = ch.run(tx); {
			case ch.err == nil:
				made++
			case len(batch) > 1 && !changesNothing(ch.err):
				return errAlone
			}
		}
		if made == 0 {
			return errNothing
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errNothing):
	case errors.Is(err, errAlone):
		for _, ch := range batch {
			c.commit([]*change{ch})
		}
	default: // the commit: nobody's change is certain
		for _, ch := range batch {
			ch.err = err
		}
	}
}

// update is bbolt's. A panic while it commits, as of a file that is damaged, is the
// error of all whose changes it would have committed: here, it would end the
// process. bbolt has rolled back then.
func (c *commits) update(do func(*bbolt.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.db.Update(do)
}

// run makes the change in tx. A panic, as of a file that is damaged, is its
// caller's error: here, it would end the process.
func (ch *change) run(tx *bbolt.Tx) (err error) {
	// The wait for other writers may have outlasted the caller.
	if err := ch.ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return ch.do(bucketsOf(tx))
}

// changesNothing reports whether err is found before anything is changed.
func changesNothing(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
