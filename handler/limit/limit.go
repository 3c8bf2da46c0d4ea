// Package limit bounds how often something may happen: for each key, such as a
// client's address, and for all keys of this instance together.
package limit

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// keysKept bounds the memory that strangers can fill in one Limiter. A key that
// was forgotten starts with a full burst, which the total bounds.
const keysKept = 4096

// Bound is a token bucket: Burst events at once, then Rate a second.
type Bound struct {
	Rate  rate.Limit
	Burst int
}

func (b Bound) bucket() *rate.Limiter { return rate.NewLimiter(b.Rate, max(b.Burst, 1)) }

// Limiter is safe for concurrent use.
type Limiter struct {
	each  Bound
	total *rate.Limiter
	now   func() time.Time
	seen  *lru.Cache[string, *rate.Limiter]
}

// New makes a Limiter that allows each to every key, and total to all of them
// together; the zero total is no limit. It panics if now is nil.
func New(each, total Bound, now func() time.Time) *Limiter {
	if now == nil {
		panic("limit: no clock")
	}
	l := &Limiter{each: each, now: now}
	l.seen, _ = lru.New[string, *rate.Limiter](keysKept) // fails only for a size below 1
	if total != (Bound{}) {
		l.total = total.bucket()
	}
	return l
}

// Wait takes one event for key and returns 0, or takes nothing and returns how
// long to wait.
func (l *Limiter) Wait(key string) time.Duration {
	bucket := l.each.bucket()
	if known, ok, _ := l.seen.PeekOrAdd(key, bucket); ok {
		bucket = known
		l.seen.Get(key) // keeps it from being forgotten
	}
	now := l.now()
	own := bucket.ReserveN(now, 1)
	if delay := own.DelayFrom(now); delay > 0 {
		own.CancelAt(now)
		return delay
	}
	if l.total == nil {
		return 0
	}
	shared := l.total.ReserveN(now, 1)
	delay := shared.DelayFrom(now)
	if delay > 0 {
		shared.CancelAt(now)
		own.CancelAt(now)
	}
	return delay
}

// Allow is Wait for callers that do not say how long.
func (l *Limiter) Allow(key string) bool { return l.Wait(key) == 0 }
