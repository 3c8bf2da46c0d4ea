// Package grants issues what clients hold, codes, refresh tokens and access
// tokens, and decides what each of them is still worth.
//
// A grant is one user's sign-in for one client. It is one row, and its
// generation is the whole state: a code is the sealed handle of generation 0, a
// refresh token that of generation 1, 2, …, and using either is one conditional
// update of the row to the next generation. Whoever wins that update has
// redeemed the code or rotated the token, on whichever instance; nothing else
// needs to be agreed upon.
//
//	shown                         found                     answer
//	code                          generation 0              redeemed, generation 1
//	code                          any later generation      the grant is revoked
//	refresh token n               generation n              rotated, generation n+1
//	refresh token n               n+1, rotated ≤ 60 s ago   a handle of n+1, nothing changes
//	refresh token n               anything else             the grant is revoked
//
// A dependency that does not answer never turns into one of these verdicts: the
// client is told 503, and may repeat the request.
package grants

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

const (
	// CodeLifetime is how long a code can be redeemed. OAuth 2.1 §4.1.2
	// recommends ten minutes at most; clients redeem within seconds.
	CodeLifetime = time.Minute
	// RefreshGrace is how long the handle of the previous generation still
	// yields one of the current generation: clients refresh in parallel and
	// lose responses.
	RefreshGrace = time.Minute
	// MaxStale bounds how long an instance may go on accepting the access
	// tokens of a grant that another instance has revoked.
	MaxStale = 15 * time.Second

	defaultAccessLifetime  = 30 * time.Minute
	defaultRefreshLifetime = 90 * 24 * time.Hour
	// leeway is the clock difference between two instances that a new access
	// token survives.
	leeway = 30 * time.Second
	// margin is how much longer than needed a dead row is kept, so that no
	// clock of ours can find it swept too soon.
	margin = 5 * time.Minute
	// verifiedTokens bounds the cache of verified access tokens, about
	// 0.5 KiB each.
	verifiedTokens = 8192
	// inFlight bounds a rotation or a revocation that outlives the request
	// it began with. Upstream calls have shorter bounds of their own.
	inFlight = 30 * time.Second
	// retryAfter is well inside RefreshGrace, so that a client that repeats
	// what was answered with 503 finds its handle still good.
	retryAfter = 2 * time.Second
)

// Options are what a Service is made of. Table, Ring, Issuer and Resource are
// required.
type Options struct {
	Table store.Table
	Ring  *keyring.Ring
	// Issuer and Resource become iss and aud of access tokens.
	Issuer   string
	Resource oauth.Resource
	// KnownScopes are the scopes the server knows. A refresh request may name
	// others, which are ignored; naming a known scope that was not granted is
	// invalid_scope. Empty means that only offline_access is ignored.
	KnownScopes oauth.Scopes
	// AccessLifetime is 30 minutes if zero.
	AccessLifetime time.Duration
	// RefreshLifetime is how long a grant survives without being used: 90
	// days if zero.
	RefreshLifetime time.Duration
	Now             func() time.Time
	Log             *slog.Logger
}

// Service is the state machine. It is safe for concurrent use, and any number
// of instances may share one table.
type Service struct {
	table           store.Table
	ring            *keyring.Ring
	issuer          string
	resource        oauth.Resource
	known           oauth.Scopes
	accessLifetime  time.Duration
	refreshLifetime time.Duration
	now             func() time.Time
	log             *slog.Logger

	parser    *jwt.Parser
	verified  *lru.Cache[[32]byte, *Access]
	revoked   revokedList
	polls     singleflight.Group
	rotations singleflight.Group
	lastUse   atomic.Int64 // Unix seconds of the last request
}

// New makes a Service. It does no I/O.
func New(o Options) *Service {
	s := &Service{
		table: o.Table, ring: o.Ring, issuer: o.Issuer, resource: o.Resource, known: o.KnownScopes,
		accessLifetime: o.AccessLifetime, refreshLifetime: o.RefreshLifetime,
		now: o.Now, log: o.Log,
	}
	if s.accessLifetime <= 0 {
		s.accessLifetime = defaultAccessLifetime
	}
	if s.refreshLifetime <= 0 {
		s.refreshLifetime = defaultRefreshLifetime
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.parser = newParser(s.issuer, string(s.resource), s.now)
	s.verified, _ = lru.New[[32]byte, *Access](verifiedTokens) // fails only for a size below 1
	return s
}

// unavailable is the answer when storage or keys do not: 503, try again.
func unavailable(cause error) error {
	return oauth.Unavailable("The server cannot reach its storage or keys. Try again.", retryAfter, cause)
}

// detached outlives the request, so that a client that hangs up cannot stop a
// change half-way.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), inFlight)
}
