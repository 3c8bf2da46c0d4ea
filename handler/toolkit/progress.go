package toolkit

import (
	"context"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// progressPause is the shortest time between two notifications: people need no more
// than four a second.
const progressPause = 250 * time.Millisecond

type progressed struct {
	mu   sync.Mutex
	last time.Time
	done float64
}

// Progress tells the client how far the call is, if it asked for that. total is 0 if
// it is not known. A report is left out if it is not higher than the last one, or if
// it comes within a quarter of a second after it and does not reach total. An error
// means that the client is no longer connected.
func (c *Caller) Progress(ctx context.Context, done, total float64, message string) error {
	req, ok := c.Request.(*mcp.CallToolRequest)
	if !ok || req.Params.GetProgressToken() == nil {
		return ctx.Err()
	}
	p := &c.progressed
	p.mu.Lock()
	defer p.mu.Unlock()
	now, last := c.server.now(), total > 0 && done >= total
	if done <= p.done && !p.last.IsZero() || !last && now.Sub(p.last) < progressPause {
		return ctx.Err()
	}
	p.last, p.done = now, done
	return req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
		ProgressToken: req.Params.GetProgressToken(), Progress: done, Total: total, Message: message,
	})
}
