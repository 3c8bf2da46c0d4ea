package clients

import (
	"cmp"
	"errors"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"entramcp/handler/ratelimit"
)

// Fetches of one instance: for requests from one address and for all, and from one
// host, so that nobody can make this server flood another.
var (
	addressFetches     = ratelimit.Limit{PerSecond: 0.5, Burst: 20}
	instanceFetches    = ratelimit.Limit{PerSecond: 10, Burst: 40}
	hostAddressFetches = ratelimit.Limit{PerSecond: 0.2, Burst: 5}
	hostFetches        = ratelimit.Limit{PerSecond: 1, Burst: 10}
)

// hostsKept bounds the memory that strangers can fill with limits of hosts.
const hostsKept = 256

var errLimited = errors.New("too many fetches")

// fetchLimits bound the fetches of documents and key sets together.
type fetchLimits struct {
	all     *ratelimit.Limiter
	perHost *lru.Cache[string, *ratelimit.Limiter]
	now     func() time.Time
}

func newFetchLimits(address ratelimit.Limit, now func() time.Time) *fetchLimits {
	l := &fetchLimits{all: ratelimit.New(cmp.Or(address, addressFetches), instanceFetches, now), now: now}
	l.perHost, _ = lru.New[string, *ratelimit.Limiter](hostsKept) // fails only for a size below 1
	return l
}

// take returns zero if client may have rawURL fetched now, or how long to wait.
func (l *fetchLimits) take(client, rawURL string) time.Duration {
	u, err := url.Parse(rawURL)
	if err != nil {
		return tryAgain
	}
	if wait := l.all.Take(client); wait > 0 {
		return wait
	}
	host, ok := l.perHost.Get(u.Host)
	if !ok {
		host = ratelimit.NewSmall(hostAddressFetches, hostFetches, l.now)
		if earlier, found, _ := l.perHost.PeekOrAdd(u.Host, host); found {
			host = earlier
		}
	}
	return host.Take(client)
}
