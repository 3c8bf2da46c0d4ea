package toolkit

import (
	"context"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// CallLimit is how many calls each user or tenant may make in a window of time, on
// one instance: with n instances, up to n times as many. The zero value means no limit.
type CallLimit struct {
	Calls  int
	Window time.Duration
}

// trackedWindows bounds the memory of the limits. Beyond that number the window that
// was not used for the longest time is dropped.
const trackedWindows = 100_000

// limits count the calls of users, of all tools together and of each, and those of
// all users and applications of a tenant.
type limits struct {
	tenant, all, each CallLimit
	now               func() time.Time

	mu      sync.Mutex
	windows *lru.Cache[string, window]
}

type window struct {
	ends time.Time
	used int
}

func newLimits(tenant, all, each CallLimit, now func() time.Time) *limits {
	windows, _ := lru.New[string, window](trackedWindows) // fails only for a size below 1
	return &limits{tenant: tenant, all: all, each: each, now: now, windows: windows}
}

// take counts a call, or says when the next may come. A refused call is not counted.
func (l *limits) take(_ context.Context, call *Call) error {
	if call.Kind == completion {
		return nil
	}
	each := l.each
	if own := call.Caller.definition.perUser; own != nil {
		each = *own
	}
	subject := string(call.Caller.Subject)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	one, oneEnds := l.open(subject+" "+call.Kind+" "+call.Name, each, now)
	all, allEnds := l.open(subject, l.all, now)
	tenant, tenantEnds := l.open("tenant "+call.Caller.TenantID, l.tenant, now)
	switch {
	case one == nil && each.Calls > 0:
		return overLimit("You", "this "+call.Kind, each, oneEnds, now)
	case all == nil && l.all.Calls > 0:
		return overLimit("You", "this server", l.all, allEnds, now)
	case tenant == nil && l.tenant.Calls > 0:
		return overLimit("Your organization", "this server", l.tenant, tenantEnds, now)
	}
	for _, w := range []func(){one, all, tenant} {
		if w != nil {
			w()
		}
	}
	return nil
}

// open returns what counts one call in the window of key, or nil if it is full.
func (l *limits) open(key string, limit CallLimit, now time.Time) (count func(), ends time.Time) {
	if limit.Calls <= 0 {
		return nil, time.Time{}
	}
	w, ok := l.windows.Get(key)
	if !ok || !now.Before(w.ends) {
		w = window{ends: now.Add(limit.Window)}
	}
	if w.used >= limit.Calls {
		return nil, w.ends
	}
	w.used++
	return func() { l.windows.Add(key, w) }, w.ends
}

func overLimit(who, what string, l CallLimit, ends, now time.Time) error {
	return Fail(fmt.Sprintf("%s may use %s %d times in %s. The next call can be made at %s, in %s.",
		who, what, l.Calls, l.Window, ends.UTC().Format(time.RFC3339), ends.Sub(now).Round(time.Second)), nil)
}
