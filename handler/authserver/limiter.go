package authserver

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// addressesKept bounds the memory that strangers can fill in one limiter.
const addressesKept = 4096

// limiter bounds what one client address may do. It forgets the addresses that
// have been quiet longest.
type limiter struct {
	limit rate.Limit
	burst int
	now   func() time.Time
	seen  *lru.Cache[string, *rate.Limiter]
}

func newLimiter(limit rate.Limit, burst int, now func() time.Time) *limiter {
	seen, _ := lru.New[string, *rate.Limiter](addressesKept) // fails only for a size below 1
	return &limiter{limit: limit, burst: max(burst, 1), now: now, seen: seen}
}

// wait is how long address must wait; zero means that it may go on now.
func (l *limiter) wait(address string) time.Duration {
	bucket := rate.NewLimiter(l.limit, l.burst)
	if known, ok, _ := l.seen.PeekOrAdd(address, bucket); ok {
		bucket = known
		l.seen.Get(address) // keeps it from being forgotten
	}
	now := l.now()
	reserved := bucket.ReserveN(now, 1)
	delay := reserved.DelayFrom(now)
	if delay > 0 {
		reserved.CancelAt(now)
	}
	return delay
}

// clientAddress is who sent r. Each proxy appends to X-Forwarded-For what it
// saw, so only the last hop is the word of Azure's front end; what stands
// before it, anyone can write. Addresses of IPv6 count by their /64, which is
// what one subscriber has.
func clientAddress(r *http.Request, inAzure bool) string {
	hop := r.RemoteAddr
	if inAzure {
		if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
			last := values[len(values)-1]
			hop = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		}
	}
	if host, _, err := net.SplitHostPort(hop); err == nil {
		hop = host
	}
	addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		return "unknown"
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		return prefix.String()
	}
	return addr.String()
}
