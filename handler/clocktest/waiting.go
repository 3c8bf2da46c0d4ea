package clocktest

import (
	"context"
	"sync"
)

// Waiting is a context that closes Begun when somebody waits for its end: a caller
// that shares work with others has joined them by then.
type Waiting struct {
	context.Context
	Begun chan struct{}
	once  sync.Once
}

// NewWaiting is such a context with the end of ctx.
func NewWaiting(ctx context.Context) *Waiting {
	return &Waiting{Context: ctx, Begun: make(chan struct{})}
}

// Done is the end of the context.
func (w *Waiting) Done() <-chan struct{} {
	w.once.Do(func() { close(w.Begun) })
	return w.Context.Done()
}
