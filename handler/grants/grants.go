// Package grants issues what clients hold, codes, refresh tokens and access
// tokens, and decides whether each of them is still valid.
//
// A grant is one user's sign-in for one client. It is one row, and its
// generation is the whole state: a code is the sealed handle of generation 0, a
// refresh token that of generation 1, 2, …, and using either is one conditional
// update of the row to the next generation. Whoever wins that update has
// redeemed the code or rotated the token, on whichever instance; nothing else
// needs to be agreed on.
//
//	shown                         found                     answer
//	code                          generation 0              redeemed, generation 1
//	code, ≤ 30 s after that       any later generation g    tokens of g, nothing changes
//	code, later                   any later generation      the grant is revoked
//	refresh token n > 1           n, younger than 4 s       tokens of n, nothing changes
//	refresh token n               n                         rotated, generation n+1
//	refresh token n               g > n, n ended ≤ 60 s ago tokens of g, nothing changes
//	refresh token n               anything else             the grant is revoked
//
// A code counts only from the client that it was issued to, with the verifier of
// its challenge; a refresh token only from its client. Anything else is refused
// and changes nothing.
//
// Revoking a grant takes two writes: an announcement, a row that every instance
// reads within MaxStale and then refuses the grant's access tokens, and the mark
// on the grant's own row, which ends it permanently. An instance that finds the
// first without the second completes the revocation. Blocks and sign-outs revoke
// nothing by themselves: each grant that they are about is revoked at its next
// use. Announcements also say that the blocks or the keys have changed.
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
	// RepeatWindow is how long the client of a redeemed code may repeat the
	// redemption because its answer was lost.
	RepeatWindow = 30 * time.Second
	// DefaultRefreshGrace is how long a refresh token that was used still
	// yields one of the current generation: clients refresh in parallel and
	// lose responses.
	DefaultRefreshGrace = time.Minute
	// MaxStale bounds how long an instance may still accept the access
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
	// rotationLimit bounds a rotation that outlives the request it began with.
	// Upstream calls have shorter bounds of their own.
	rotationLimit = 30 * time.Second
	// revocationLimit bounds all reads and writes of a revocation together.
	revocationLimit = 8 * time.Second
	// retryAfter is for a client that is told 503.
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
	// Tenants are the IDs of the tenants that the setting names, beside those of
	// AllowTenant; nil is all whose users Entra signs in.
	Tenants []string
	// Required are the scopes without which no call is accepted. A refresh
	// that asks for fewer keeps them.
	Required oauth.Scopes
	// AccessLifetime is 30 minutes if zero.
	AccessLifetime time.Duration
	// RefreshLifetime is how long a grant lasts without being used: 90 days if
	// zero, and at least AccessLifetime.
	RefreshLifetime time.Duration
	// GrantLifetime is how long a grant lasts however often it is used, counted
	// from its approval; without limit if zero.
	GrantLifetime time.Duration
	// Recheck is how often Entra is asked whether the sign-in behind a grant in
	// use still holds, beside the refreshes of its client; never if zero.
	Recheck time.Duration
	// Renew asks Entra, for Refresh and for Recheck. Without it both answer
	// that Entra cannot be asked, with 503.
	Renew Renew
	// RefreshGrace is DefaultRefreshGrace if zero, but at most half of
	// AccessLifetime.
	RefreshGrace time.Duration
	Now          func() time.Time
	Log          *slog.Logger
}

// Service is the state machine. It is safe for concurrent use, and any number
// of instances may share one table.
type Service struct {
	table           store.Table
	ring            *keyring.Ring
	issuer          string
	resource        oauth.Resource
	tenants         map[string]struct{} // by hash
	required        oauth.Scopes
	accessLifetime  time.Duration
	refreshLifetime time.Duration
	grantLifetime   time.Duration
	refreshGrace    time.Duration
	recheck         time.Duration
	renew           Renew
	now             func() time.Time
	log             *slog.Logger

	parser    *jwt.Parser
	verified  *lru.Cache[[32]byte, *Access]
	revoked   revocationList
	blocks    atomic.Pointer[blockTable]
	readings  singleflight.Group
	rotations singleflight.Group
	// graceAnswers counts, by grant, the answers within the grace since the last
	// rotation.
	graceAnswers *lru.Cache[string, int]
	confirmed    *lru.Cache[string, confirmation] // by grant
	rechecks     singleflight.Group
	// keyChanges counts how often verified was emptied.
	keyChanges atomic.Uint64
	// hits and misses count looks into verified.
	hits, misses atomic.Int64
	// lastRequest is in Unix seconds.
	lastRequest atomic.Int64
	// legacyUntil is when revocations are no longer written for instances of
	// earlier versions, in Unix seconds; zero if that is not known yet.
	legacyUntil atomic.Int64
}

// New makes a Service. It does no I/O.
func New(o Options) *Service {
	s := &Service{
		table: o.Table, ring: o.Ring, issuer: o.Issuer, resource: o.Resource, tenants: tenantSet(o.Tenants), required: o.Required,
		accessLifetime: o.AccessLifetime, refreshLifetime: o.RefreshLifetime,
		grantLifetime: o.GrantLifetime, refreshGrace: o.RefreshGrace, recheck: o.Recheck, renew: o.Renew,
		now: o.Now, log: o.Log,
	}
	if s.accessLifetime <= 0 {
		s.accessLifetime = defaultAccessLifetime
	}
	if s.refreshLifetime <= 0 {
		s.refreshLifetime = defaultRefreshLifetime
	}
	s.refreshLifetime = max(s.refreshLifetime, s.accessLifetime)
	if s.refreshGrace <= 0 {
		s.refreshGrace = min(DefaultRefreshGrace, s.accessLifetime/2)
	}
	if s.renew == nil {
		s.renew = func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, errNoRenew }
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.blocks.Store(&blockTable{})
	s.parser = newParser(s.issuer, string(s.resource), s.now)
	s.verified, _ = lru.New[[32]byte, *Access](verifiedTokens) // fails only for a size below 1
	s.confirmed, _ = lru.New[string, confirmation](confirmedGrants)
	s.graceAnswers, _ = lru.New[string, int](1024)
	return s
}

// unavailable is the answer when storage or keys do not: 503, try again.
func unavailable(cause error) error {
	return oauth.Unavailable("The server cannot reach its storage or keys. Try again.", retryAfter, cause)
}

// detached outlives the request by at most limit, so that a client that hangs up
// cannot stop a change half-way.
func detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
