package clients

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

const (
	// staleFor is how long an old copy stands in for one that cannot be
	// fetched (RFC 5861 §4).
	staleFor = 7 * 24 * time.Hour
	// backOff is how long a failure is remembered instead of tried again.
	backOff = 5 * time.Second
	// documentsKept times maxBody bounds the memory that strangers can fill
	// with documents of one kind.
	documentsKept = 256
	hostsKept     = 1024

	// Fetches of one instance, per second and at once: from all hosts, and
	// from each, so that nobody can have this server hammer another.
	fetchRate      = 10
	fetchBurst     = 20
	hostFetchRate  = 1
	hostFetchBurst = 5
)

// Metadata configures client ID metadata documents. The zero value accepts
// documents of any host.
type Metadata struct {
	// Hosts are the hosts to fetch documents and key sets from.
	Hosts Hosts
	// Pinned are the documents that are known without fetching them,
	// whatever Hosts says.
	Pinned Pinned
	// Resolver and RootCAs replace the system's.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
}

// documents are the JSON documents of clients, cached in memory and, shared by
// all instances, in the table. Each kind has its own: that a document is no key
// set says nothing against it as metadata, or anyone who names another client's
// metadata as their own key set could put that client out of service.
type documents struct {
	kind     string // begins the key in the table
	table    store.Table
	hosts    Hosts
	pinned   Pinned
	loopback bool
	fetcher  fetcher
	copies   *lru.Cache[string, document]
	failures *lru.Cache[string, failure]
	perHost  *lru.Cache[string, *rate.Limiter]
	total    *rate.Limiter
	flights  singleflight.Group
	now      func() time.Time
	log      *slog.Logger
}

// document is a copy that was valid when it was fetched.
type document struct {
	URL     string    `json:"url"`
	ETag    string    `json:"etag,omitempty"`
	Fetched time.Time `json:"fetched"`
	Fresh   time.Time `json:"fresh"` // until
	body    []byte
	row     store.Row
}

type failure struct {
	err   error
	until time.Time
}

func newDocuments(o Options, now func() time.Time, log *slog.Logger) (*documents, error) {
	d := &documents{
		table: o.Table, hosts: o.Metadata.Hosts, pinned: o.Metadata.Pinned, loopback: isLoopbackIssuer(o.Issuer),
		total: rate.NewLimiter(fetchRate, fetchBurst), now: now, log: log,
	}
	d.fetcher = newFetcher(o.Metadata, d.loopback)
	var err error
	d.perHost, err = lru.New[string, *rate.Limiter](hostsKept)
	return d, errors.Join(err, d.remember())
}

// another is for documents of another kind, within the same limits.
func (d *documents) another(kind string) (*documents, error) {
	k := &documents{
		kind: kind, table: d.table, hosts: d.hosts, pinned: d.pinned, loopback: d.loopback,
		fetcher: d.fetcher, perHost: d.perHost, total: d.total, now: d.now, log: d.log,
	}
	return k, k.remember()
}

// remember makes the memory of one kind.
func (d *documents) remember() (err error) {
	if d.copies, err = lru.New[string, document](documentsKept); err != nil {
		return err
	}
	d.failures, err = lru.New[string, failure](hostsKept)
	return err
}

// isLoopbackIssuer reports whether this server runs on its user's machine, the
// only case in which a document may come from there (the draft, §8.6).
func isLoopbackIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Host != "" && isLoopbackURI("http://"+u.Host)
}

func (d *documents) permits(rawURL string) error {
	_, err := checkFetchURL(rawURL, d.hosts, d.loopback)
	return err
}

// get returns the document at rawURL. With youngest set, a copy older than that
// is not good enough, even if it is fresh. check must pass before a document is
// used or stored. Errors are invalid_client, slow_down and
// temporarily_unavailable; none is cached for longer than backOff.
func (d *documents) get(ctx context.Context, rawURL string, youngest time.Duration, check func([]byte) error) ([]byte, error) {
	if doc, ok := d.copies.Get(rawURL); ok && d.usable(doc, youngest) {
		return doc.body, nil
	}
	if err := d.permits(rawURL); err != nil {
		return nil, unknownClient("The URL " + quoteForClient(rawURL) + " is refused: " + err.Error() + ".")
	}
	// Who wants a younger copy must not be given the answer to one who does
	// not.
	flight := d.flights.DoChan(rawURL+" "+youngest.String(), func() (any, error) {
		// The flight serves others too, so it outlives the request that
		// began it; each step in it has its own bound in time.
		return d.refresh(context.WithoutCancel(ctx), rawURL, youngest, check)
	})
	select {
	case <-ctx.Done():
		return nil, oauth.Unavailable("The request was given up.", time.Second, ctx.Err())
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(document).body, nil
	}
}

func (d *documents) usable(doc document, youngest time.Duration) bool {
	now := d.now()
	return now.Before(doc.Fresh) && (youngest == 0 || now.Sub(doc.Fetched) < youngest)
}

func (d *documents) refresh(ctx context.Context, rawURL string, youngest time.Duration, check func([]byte) error) (document, error) {
	doc, found := d.stored(ctx, rawURL, check)
	if found && d.usable(doc, youngest) {
		d.copies.Add(rawURL, doc)
		return doc, nil
	}
	answer, err := d.fetch(ctx, rawURL, doc.ETag, check)
	if err != nil {
		return d.stale(ctx, rawURL, doc, found, err)
	}
	now := d.now().UTC()
	doc.URL, doc.ETag, doc.Fetched, doc.Fresh = rawURL, answer.etag, now, now.Add(answer.fresh)
	if !answer.unchanged {
		doc.body = answer.body
	}
	doc.row.ETag = d.store(ctx, doc)
	d.copies.Add(rawURL, doc)
	return doc, nil
}

// fetch asks the host, unless it has just failed or been asked too much.
func (d *documents) fetch(ctx context.Context, rawURL, etag string, check func([]byte) error) (fetched, error) {
	if f, ok := d.failures.Get(rawURL); ok && d.now().Before(f.until) {
		return fetched{}, f.err
	}
	if !d.allowed(rawURL) {
		return fetched{}, &oauth.Error{Code: oauth.SlowDown, RetryAfter: backOff,
			Description: "Too many client metadata documents are being fetched. Try again in a moment."}
	}
	answer, err := d.fetcher.get(ctx, rawURL, etag)
	if err == nil && !answer.unchanged {
		if err = check(answer.body); err != nil {
			err = &fetchFailure{what: "is not valid", final: true, cause: err}
		}
	}
	if err != nil {
		d.failures.Add(rawURL, failure{err: err, until: d.now().Add(backOff)})
		return fetched{}, err
	}
	d.failures.Remove(rawURL)
	return answer, nil
}

func (d *documents) allowed(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	limiter, ok := d.perHost.Get(u.Host)
	if !ok {
		limiter = rate.NewLimiter(hostFetchRate, hostFetchBurst)
		if earlier, found, _ := d.perHost.PeekOrAdd(u.Host, limiter); found {
			limiter = earlier
		}
	}
	now := d.now()
	return limiter.AllowN(now, 1) && d.total.AllowN(now, 1)
}

// stale answers a failed fetch with the copy there is, or explains it.
func (d *documents) stale(ctx context.Context, rawURL string, doc document, found bool, err error) (document, error) {
	var f *fetchFailure
	failed := errors.As(err, &f)
	if found && d.now().Before(doc.Fresh.Add(staleFor)) && !(failed && f.final) {
		d.log.WarnContext(ctx, "using an old copy of a client's document", "url", rawURL, "fetched", doc.Fetched, "cause", err)
		return doc, nil
	}
	if !failed {
		return document{}, err
	}
	if refusal := new(oauth.Error); errors.As(f.cause, &refusal) && f.final {
		return document{}, refusal
	}
	text := "The client's document at " + quoteForClient(rawURL) + " " + f.what + "."
	if f.down {
		return document{}, oauth.Unavailable(text+" Try again in a moment.", backOff, err)
	}
	return document{}, unknownClient(text).Because(err)
}
