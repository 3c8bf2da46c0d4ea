package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/ratelimit"
	"entramcp/handler/store"
)

const (
	// A record lives for unusedLife after the registration and for usedLife after the
	// last use: many clients never recover from the loss of one. One that is written
	// while an instance has to write too many lives for floodLife unless it is used.
	unusedLife = 30 * 24 * time.Hour
	usedLife   = 400 * 24 * time.Hour
	floodLife  = 24 * time.Hour
	// minSaving is how much longer a life must become to be worth a write:
	// at most one per client and day.
	minSaving = 24 * time.Hour

	// cacheSize times maxRecord, held twice, bounds the memory that strangers
	// can fill. A change, also of the operator's, reaches all instances within
	// cacheFor.
	cacheFor  = time.Minute
	cacheSize = 1024
)

var (
	// Registrations, from one address and to one instance. Each makes at most one new
	// row of maxRecord bytes: 1,600 rows or 13 MiB in the first minute of a flood,
	// 1,200 rows or 9 MiB in each after it, per instance.
	addressRegistrations  = ratelimit.Limit{PerSecond: 1, Burst: 60}
	instanceRegistrations = ratelimit.Limit{PerSecond: 20, Burst: 400}
	// New rows beyond these live for floodLife.
	lastingRows      = rate.Every(5 * time.Second)
	lastingRowsBurst = 300
	// Client assertions that fail, each of which may cost the check of two
	// signatures.
	addressAssertions  = ratelimit.Limit{PerSecond: 0.5, Burst: 30}
	instanceAssertions = ratelimit.Limit{PerSecond: 20, Burst: 200}
)

// Options are what a Registry needs.
type Options struct {
	// Table holds records, copies of documents and used assertions.
	Table     store.Table
	Policy    RedirectPolicy
	Documents Documents
	// Issuer is this server's issuer, and what a client assertion is addressed
	// to. An issuer on loopback also permits fetching metadata documents from
	// loopback.
	Issuer string
	// TokenEndpoint is what many clients address their assertions to instead;
	// it is accepted unless IssuerAudienceOnly is set.
	TokenEndpoint      string
	IssuerAudienceOnly bool
	// Refuse, if not nil, is asked before a client is registered. The id is
	// empty if it will be random.
	Refuse func(ctx context.Context, id string, redirectURIs []string) error

	// Limits are what one address may do; those that are zero have defaults.
	Limits Limits

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default none
}

// Limits are what requests from one address may cause on one instance: new
// registrations, fetches of documents and key sets, and client assertions that fail.
// The limits of the instance cannot be set.
type Limits struct {
	Registrations, Fetches, FailedAssertions ratelimit.Limit
}

// Registry answers who a client is. It is safe for concurrent use.
type Registry struct {
	table         store.Table
	policy        RedirectPolicy
	issuer        string
	tokenEndpoint string // empty if no assertion may be addressed to it
	cache         *lru.Cache[string, cachedClient]
	hits, misses  atomic.Int64 // of cache
	registrations *ratelimit.Limiter
	lasting       *rate.Limiter
	assertions    *ratelimit.Limiter
	pinned        Pinned
	documents     *fetchCache
	keySets       *fetchCache
	refuse        func(ctx context.Context, id string, redirectURIs []string) error
	now           func() time.Time
	log           *slog.Logger
}

type cachedClient struct {
	Client
	until time.Time
}

// NotFetchable are the metadata documents and key sets of clients that have got
// tokens which could not be fetched when they were last asked for, within a day, and
// since when. A client that was approved and never signed in is not among them:
// approving needs no account.
func (r *Registry) NotFetchable() map[string]time.Time {
	failing := map[string]time.Time{}
	for _, cache := range []*fetchCache{r.documents, r.keySets} {
		for _, url := range cache.failing.Keys() {
			if f, ok := cache.failing.Peek(url); ok && r.now().Sub(f.last) < failingFor {
				failing[url] = f.since
			}
		}
	}
	return failing
}

// ProbeDocuments fetches up to most of the documents of clients in use, for the
// doctor, and returns how many that were and which could not be fetched. It changes
// nothing.
func (r *Registry) ProbeDocuments(ctx context.Context, most int) (asked int, failing []string, err error) {
	return r.documents.probe(ctx, most)
}

// CachedClients counts the look-ups that were answered from memory, and those that
// were not.
func (r *Registry) CachedClients() (hits, misses int64) { return r.hits.Load(), r.misses.Load() }

// New makes a Registry. It does no I/O. It fails if a pinned document is not
// acceptable, naming each.
func New(o Options) (*Registry, error) {
	if o.Table == nil {
		return nil, errors.New("clients: no table")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		table: o.Table, policy: o.Policy, issuer: o.Issuer, tokenEndpoint: o.TokenEndpoint, pinned: o.Documents.Pinned,
		registrations: ratelimit.New(cmp.Or(o.Limits.Registrations, addressRegistrations), instanceRegistrations, o.Now),
		lasting:       rate.NewLimiter(lastingRows, lastingRowsBurst),
		assertions:    ratelimit.New(cmp.Or(o.Limits.FailedAssertions, addressAssertions), instanceAssertions, o.Now),
		refuse:        o.Refuse, now: o.Now, log: o.Log,
	}
	if r.refuse == nil {
		r.refuse = func(context.Context, string, []string) error { return nil }
	}
	if o.IssuerAudienceOnly {
		r.tokenEndpoint = ""
	}
	r.cache, _ = lru.New[string, cachedClient](cacheSize) // fails only for a size below 1
	r.documents, r.keySets = newFetchCaches(o)
	r.documents.accepted = func(ctx context.Context, id string, body []byte) {
		if c, err := r.parseDocument(id, body); err == nil {
			observe.Audit(ctx, r.log, observe.Event{Name: observe.DocumentAccepted, Client: c.Audit("")})
		}
	}
	var errs []error
	for id, body := range o.Documents.Pinned {
		if _, err := r.parseDocument(id, body); err != nil {
			errs = append(errs, fmt.Errorf("pinned client metadata %s: %w", id, err))
		}
	}
	return r, errors.Join(errs...)
}

// Lookup returns the client with the given id. Errors: invalid_client if there
// is none, it has expired or its metadata document is refused; slow_down and
// temporarily_unavailable if that cannot be known now.
func (r *Registry) Lookup(ctx context.Context, clientID string) (Client, error) {
	if strings.HasPrefix(clientID, "https://") || strings.HasPrefix(clientID, "http://") {
		return r.lookupDocument(ctx, clientID)
	}
	c, ok := r.cached(clientID)
	if !ok {
		var err error
		if c, err = r.read(ctx, clientID); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return Client{}, unknownClient("This client is not registered, or its registration has expired. Register again.")
			}
			return Client{}, oauth.Unavailable("The client's registration could not be read. Try again in a moment.", 2*time.Second, err)
		}
		r.cacheClient(c)
	}
	if c.expired(r.now()) {
		return Client{}, unknownClient("This client's registration has expired. Register again.")
	}
	if len(c.RedirectURIs) == 0 {
		return Client{}, unknownClient("This server no longer allows any of the client's redirect URIs.")
	}
	return c, nil
}

// StoreCopies stores the copy of the document of a client that a person has approved,
// for all instances. A stranger's request alone stores nothing. An error is only
// logged.
func (r *Registry) StoreCopies(ctx context.Context, c Client) {
	if c.document != nil {
		r.documents.store(ctx, *c.document)
	}
}

// Touch keeps a client alive because it was used: its record, or the copies of its
// document and its keys. It writes a record at most once a day; a write that fails
// only makes the life shorter, so the error is only logged.
func (r *Registry) Touch(ctx context.Context, c Client) {
	if c.document != nil {
		r.documents.use(ctx, *c.document)
	}
	if c.keySet != nil {
		r.keySets.use(ctx, *c.keySet)
	}
	if c.row.Expires.IsZero() || expiry(r.now(), usedLife).Sub(c.row.Expires) <= minSaving {
		return
	}
	_, err := r.extend(ctx, c, usedLife)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		r.log.WarnContext(ctx, "the lifetime of a client registration was not extended", "client_id", c.ID, "cause", err)
	}
}

func (r *Registry) cached(id string) (Client, bool) {
	e, ok := r.cache.Get(id)
	if !ok || !r.now().Before(e.until) {
		r.misses.Add(1)
		return Client{}, false
	}
	r.hits.Add(1)
	return e.Client, true
}

func (r *Registry) cacheClient(c Client) {
	r.cache.Add(c.ID, cachedClient{Client: c, until: r.now().Add(cacheFor)})
}
