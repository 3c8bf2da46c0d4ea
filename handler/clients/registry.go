package clients

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

const (
	// A registration that is never used lives for unusedLife, one that is
	// used until usedLife after the last use.
	unusedLife = 24 * time.Hour
	usedLife   = 90 * 24 * time.Hour
	// minSaving is how much longer a life must become to be worth a write:
	// at most one per client and day.
	minSaving = 24 * time.Hour

	// cacheSize times maxRecord, held twice, bounds the memory that strangers
	// can fill.
	cacheFor  = time.Minute
	cacheSize = 1024

	// New rows that one instance writes: sustained per second, and at once.
	registrationRate  = 20
	registrationBurst = 200
)

// Options are what a Registry needs.
type Options struct {
	// Table holds registrations, cached documents and used assertions.
	Table  store.Table
	Policy RedirectPolicy
	// Metadata configures client ID metadata documents.
	Metadata Metadata
	// Issuer is this server's issuer; with TokenEndpoint it is what a client
	// assertion may be addressed to. An issuer on loopback also permits
	// fetching metadata documents from loopback.
	Issuer        string
	TokenEndpoint string

	Now  func() time.Time // default time.Now
	Rand io.Reader        // default crypto/rand
	Log  *slog.Logger     // default none
}

// Registry answers who a client is. It is safe for concurrent use.
type Registry struct {
	table         store.Table
	policy        RedirectPolicy
	audience      []string
	cache         *lru.Cache[string, cachedClient]
	registrations *rate.Limiter
	documents     *documents // metadata
	keySets       *documents
	now           func() time.Time
	rand          io.Reader
	log           *slog.Logger
}

type cachedClient struct {
	Client
	until time.Time
}

// New makes a Registry. It does no I/O. It fails if a pinned document is not
// acceptable, naming each.
func New(o Options) (*Registry, error) {
	if o.Table == nil {
		return nil, errors.New("clients: no table")
	}
	r := &Registry{
		table: o.Table, policy: o.Policy, audience: []string{o.Issuer, o.TokenEndpoint},
		registrations: rate.NewLimiter(registrationRate, registrationBurst),
		now:           o.Now, rand: o.Rand, log: o.Log,
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.rand == nil {
		r.rand = rand.Reader
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.cache, err = lru.New[string, cachedClient](cacheSize); err != nil {
		return nil, err
	}
	if r.documents, err = newDocuments(o, r.now, r.log); err != nil {
		return nil, err
	}
	if r.keySets, err = r.documents.another("jwks "); err != nil {
		return nil, err
	}
	var errs []error
	for id, body := range o.Metadata.Pinned {
		if _, err := r.parseDocument(id, body); err != nil {
			errs = append(errs, fmt.Errorf("pinned client metadata %s: %w", id, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Lookup returns the client with the given id. Errors: invalid_client if there
// is none, it has expired or its metadata document is refused;
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
		r.remember(c)
	}
	if c.expired(r.now()) {
		return Client{}, unknownClient("This client's registration has expired. Register again.")
	}
	if len(c.RedirectURIs) == 0 {
		return Client{}, unknownClient("This server no longer allows any of the client's redirect URIs.")
	}
	return c, nil
}

// Touch keeps a registration alive because it was used. It writes at most once
// a day; a write that fails or loses a race costs nothing but a shorter life,
// so it is only logged.
func (r *Registry) Touch(ctx context.Context, c Client) {
	if c.row.Key == "" || expiry(r.now(), usedLife).Sub(c.row.Expires) <= minSaving {
		return
	}
	_, err := r.extend(ctx, c, usedLife)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		r.log.WarnContext(ctx, "client registration not kept alive", "client_id", c.ID, "cause", err)
	}
}

func (r *Registry) cached(id string) (Client, bool) {
	e, ok := r.cache.Get(id)
	if !ok || !r.now().Before(e.until) {
		return Client{}, false
	}
	return e.Client, true
}

func (r *Registry) remember(c Client) {
	r.cache.Add(c.ID, cachedClient{Client: c, until: r.now().Add(cacheFor)})
}
