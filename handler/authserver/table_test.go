package authserver_test

import (
	"context"
	"errors"
	"strings"
	"sync"

	"entramcp/handler/store"
)

// countingTable counts what is written and fails on demand.
type countingTable struct {
	store.Table
	mu     sync.Mutex
	reads  int
	writes int

	failRead, failWrite error
	failPartition       string // writes to partitions that begin so fail
	loseAnswer          bool
	overtake            func() // runs once, before the next Replace
}

func (c *countingTable) read() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	return c.failRead
}

func (c *countingTable) write(partition string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if c.failPartition != "" && strings.HasPrefix(partition, c.failPartition) {
		return errors.New("storage: timeout")
	}
	return c.failWrite
}

// failWritesTo makes the writes to partitions that begin with prefix fail.
func (c *countingTable) failWritesTo(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failPartition = prefix
}

// beforeReplace has f run once, when a row has been read and is about to be
// replaced.
func (c *countingTable) beforeReplace(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overtake = f
}

func (c *countingTable) breakWith(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failRead, c.failWrite = err, err
}

func (c *countingTable) failWrites(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failWrite = err
}

// loseOneAnswer lets the next Replace succeed and says that it failed.
func (c *countingTable) loseOneAnswer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loseAnswer = true
}

// counted returns the operations since the last call.
func (c *countingTable) counted() (reads, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reads, writes = c.reads, c.writes
	c.reads, c.writes = 0, 0
	return reads, writes
}

func (c *countingTable) Insert(ctx context.Context, row store.Row) (store.ETag, error) {
	if err := c.write(row.Partition); err != nil {
		return "", err
	}
	return c.Table.Insert(ctx, row)
}

func (c *countingTable) Get(ctx context.Context, partition, key string) (store.Row, error) {
	if err := c.read(); err != nil {
		return store.Row{}, err
	}
	return c.Table.Get(ctx, partition, key)
}

func (c *countingTable) Replace(ctx context.Context, row store.Row) (store.ETag, error) {
	c.mu.Lock()
	overtake := c.overtake
	c.overtake = nil
	c.mu.Unlock()
	if overtake != nil {
		overtake()
	}
	if err := c.write(row.Partition); err != nil {
		return "", err
	}
	c.mu.Lock()
	lose := c.loseAnswer
	c.loseAnswer = false
	c.mu.Unlock()
	etag, err := c.Table.Replace(ctx, row)
	if lose {
		return "", errors.New("the connection was reset")
	}
	return etag, err
}

func (c *countingTable) Delete(ctx context.Context, partition, key string, etag store.ETag) error {
	if err := c.write(partition); err != nil {
		return err
	}
	return c.Table.Delete(ctx, partition, key, etag)
}

func (c *countingTable) List(ctx context.Context, span store.Span, from store.Cursor) (store.Page, error) {
	if err := c.read(); err != nil {
		return store.Page{}, err
	}
	return c.Table.List(ctx, span, from)
}
