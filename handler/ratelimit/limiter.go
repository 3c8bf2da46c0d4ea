// Package ratelimit limits what requests without authentication can make an instance
// do, by client address and for all addresses together, so that honest callers are
// served while others send too much.
package ratelimit

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Limit is a token bucket: Burst at once, and PerSecond sustained.
type Limit struct {
	PerSecond float64
	Burst     int
}

// Per is n at once, and n in each window after that; the zero Limit for the zero n.
func Per(n int, window time.Duration) Limit {
	if n == 0 {
		return Limit{}
	}
	return Limit{PerSecond: float64(n) / window.Seconds(), Burst: n}
}

const (
	// kept bounds the memory that strangers can fill in one Limiter: the
	// addresses and the networks that it keeps. Forgetting one costs
	// nothing but the memory of what it has used: the instance's limit holds.
	kept = 4096
	// keptSmall is for limiters of which there are many.
	keptSmall = 64
	// memory is how long what a network has used counts against it when the
	// instance's budget is short: it falls to 1/e in this time.
	memory = time.Minute
)

// Limiter has a budget for each client address and one for the instance. Half
// of the instance's budget is first come, first served. Of the other half, a
// network gets the less the more it has taken in the last minute: where many
// ask for more than there is, who has taken nothing is served before those who
// have. That works as long as fewer networks ask than the budget of a minute
// serves; a flood from more is bounded, not shared fairly. A network is 256 addresses of IPv4 or a /48 of IPv6, an address one of
// IPv4 or a /64 of IPv6, which is what one subscriber has. It is safe for
// concurrent use. N instances allow N times as much.
type Limiter struct {
	address, instance Limit
	now               func() time.Time

	mu        sync.Mutex
	total     bucket
	addresses *simplelru.LRU[netip.Prefix, *bucket]
	networks  *simplelru.LRU[netip.Prefix, *usage]
}

// New makes a Limiter. Limits need a positive PerSecond and Burst.
func New(address, instance Limit, now func() time.Time) *Limiter {
	return newLimiter(kept, address, instance, now)
}

// NewSmall makes a Limiter that keeps few addresses, for use where each of
// many things, such as a host, has its own.
func NewSmall(address, instance Limit, now func() time.Time) *Limiter {
	return newLimiter(keptSmall, address, instance, now)
}

func newLimiter(kept int, address, instance Limit, now func() time.Time) *Limiter {
	l := &Limiter{address: address, instance: instance, now: now, total: full(instance, now())}
	l.addresses, _ = simplelru.NewLRU[netip.Prefix, *bucket](kept, nil) // fails only for a size below 1
	l.networks, _ = simplelru.NewLRU[netip.Prefix, *usage](kept, nil)
	return l
}

// Take takes one from the budgets of the instance and of client, an address, or
// a prefix for an address of IPv6, as text. It returns zero, or, if either is
// used up, takes nothing and returns how long to wait. All clients whose text is
// neither, such as "unknown", count as one.
func (l *Limiter) Take(client string) time.Duration {
	address, network := prefixes(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	own, used := l.bucketOf(address, now), l.usageOf(network, now)
	own.refill(l.address, now)
	l.total.refill(l.instance, now)
	used.decay(now)

	half := max(float64(l.instance.Burst)/2, 1)
	need := 1 + (half-1)*used.count/(used.count+1)
	if wait := max(own.lacks(1, l.address), l.total.lacks(need, l.instance)); wait > 0 {
		return wait
	}
	own.tokens--
	l.total.tokens--
	used.count++
	return 0
}

// Return gives back what Take took from the budgets, for work that turned out
// not to count, such as an authentication that succeeded.
func (l *Limiter) Return(client string) {
	address, network := prefixes(client)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.add(1, l.instance)
	if own, ok := l.addresses.Peek(address); ok {
		own.add(1, l.address)
	}
	if used, ok := l.networks.Peek(network); ok {
		used.count = max(used.count-1, 0)
	}
}

// prefixes are what a client counts as and the network it belongs to; both are
// zero where client is not an address.
func prefixes(client string) (own, network netip.Prefix) {
	address, err := netip.ParseAddr(client)
	if err != nil {
		prefix, _ := netip.ParsePrefix(client)
		address = prefix.Addr()
	}
	address = address.Unmap().WithZone("")
	ownBits, networkBits := 64, 48
	if address.Is4() {
		ownBits, networkBits = 32, 24
	}
	own, _ = address.Prefix(ownBits)
	network, _ = address.Prefix(networkBits)
	return own, network
}

func (l *Limiter) bucketOf(address netip.Prefix, now time.Time) *bucket {
	if b, ok := l.addresses.Get(address); ok {
		return b
	}
	b := full(l.address, now)
	l.addresses.Add(address, &b)
	return &b
}

func (l *Limiter) usageOf(network netip.Prefix, now time.Time) *usage {
	if u, ok := l.networks.Get(network); ok {
		return u
	}
	u := &usage{at: now}
	l.networks.Add(network, u)
	return u
}

type bucket struct {
	tokens float64
	at     time.Time
}

func full(l Limit, now time.Time) bucket { return bucket{tokens: float64(l.Burst), at: now} }

func (b *bucket) refill(l Limit, now time.Time) {
	if elapsed := now.Sub(b.at); elapsed > 0 { // clocks can be set back
		b.add(elapsed.Seconds()*l.PerSecond, l)
		b.at = now
	}
}

func (b *bucket) add(tokens float64, l Limit) { b.tokens = min(b.tokens+tokens, float64(l.Burst)) }

// lacks is how long it takes until there are need tokens.
func (b *bucket) lacks(need float64, l Limit) time.Duration {
	if b.tokens >= need {
		return 0
	}
	return time.Duration(math.Ceil((need - b.tokens) / l.PerSecond * float64(time.Second)))
}

// usage is what a network has taken lately.
type usage struct {
	count float64
	at    time.Time
}

func (u *usage) decay(now time.Time) {
	if elapsed := now.Sub(u.at); elapsed > 0 {
		u.count *= math.Exp(-elapsed.Seconds() / memory.Seconds())
		u.at = now
	}
}
