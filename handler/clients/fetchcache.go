package clients

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

const (
	// staleFor is how long an old copy replaces one that cannot be
	// fetched (RFC 5861 §4).
	staleFor = 7 * 24 * time.Hour
	// standInFor is how long a copy that stands in is used before the host is asked
	// again. Without a copy, an error is not cached (the draft, §5.2); the limits
	// bound what repeating the fetch costs.
	standInFor = time.Minute
	// tryAgain is when to repeat what failed.
	tryAgain = 5 * time.Second
	// failingKept bounds the list of documents that cannot be fetched, and
	// failingFor how long one stays there that nobody asks for again.
	failingKept = 32
	failingFor  = 24 * time.Hour
	// copiesKept times maxDocument bounds the memory that strangers can fill
	// with copies of one kind.
	copiesKept = 256
	// tableTimeout bounds a read or write of shared copies, which a fetch can
	// do without.
	tableTimeout = 2 * time.Second
	// DocumentPrefix begins the names of the partitions of copies, followed by two
	// digits of the key: the SHA-256 of kind and URL.
	DocumentPrefix = "d-"
)

// Documents configures client ID metadata documents. The zero value accepts
// documents of any host.
type Documents struct {
	// Hosts are the hosts to fetch documents and key sets from.
	Hosts Hosts
	// Pinned are the documents that are known without fetching them,
	// whatever Hosts says.
	Pinned Pinned

	resolver *net.Resolver  // of tests; default the system's
	roots    *x509.CertPool // of tests; default the system's
}

// fetchCache holds JSON that clients publish: in memory and, for clients in use,
// shared by all instances in the table. Metadata documents and key sets have one
// each. With one for both, anyone could put a client out of service by naming its
// metadata document as their own jwks_uri, because the document is not a valid key
// set.
type fetchCache struct {
	kind     string // begins the key in the table
	builtIn  Pinned
	table    store.Table
	hosts    Hosts
	loopback bool
	fetcher  fetcher
	limits   *fetchLimits
	accepted func(ctx context.Context, rawURL string, body []byte) // after each fetch of a new body
	copies   *lru.Cache[string, cachedCopy]
	// failing are the documents of clients in use that cannot be fetched.
	failing *lru.Cache[string, failing]
	flights singleflight.Group
	now     func() time.Time
	log     *slog.Logger
}

// cachedCopy is a copy that was valid when it was fetched. The members with a JSON
// tag are the first line of the row's value; the body follows.
type cachedCopy struct {
	Version int       `json:"v,omitempty"`
	URL     string    `json:"url"`
	ETag    string    `json:"etag,omitempty"`
	Fetched time.Time `json:"fetched"`
	Fresh   time.Time `json:"fresh"` // until
	// Used says that the client has got tokens.
	Used    bool `json:"used,omitempty"`
	body    []byte
	row     store.Row
	shared  bool // the table has it, or cannot hold it
	builtIn bool
	retry   time.Time // until when it is used without another fetch
}

// failing is since when a document cannot be fetched, and when that was last tried.
type failing struct{ since, last time.Time }

// newFetchCaches makes the caches of metadata documents and of key sets, which share
// their limits.
func newFetchCaches(o Options) (documents, keySets *fetchCache) {
	local := isLoopbackIssuer(o.Issuer)
	fetcher := newFetcher(o.Documents.resolver, o.Documents.roots, local)
	limits := newFetchLimits(o.Limits.Fetches, o.Now)
	newCache := func(kind string, builtIn Pinned) *fetchCache {
		c := &fetchCache{
			kind: kind, builtIn: builtIn, table: o.Table, hosts: o.Documents.Hosts, loopback: local,
			fetcher: fetcher, limits: limits, now: o.Now, log: o.Log,
		}
		c.copies, _ = lru.New[string, cachedCopy](copiesKept) // fails only for a size below 1
		c.failing, _ = lru.New[string, failing](failingKept)
		return c
	}
	return newCache("", builtIn()), newCache("jwks ", nil)
}

// isLoopbackIssuer reports whether this server runs on its user's machine, the
// only case in which a document may come from there (the draft, §8.6).
func isLoopbackIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Host != "" && isLoopbackURI("http://"+u.Host)
}

func (d *fetchCache) permits(rawURL string) error {
	_, err := checkFetchURL(rawURL, d.hosts, d.loopback)
	return err
}

// get returns what is at rawURL. If youngest is not zero, a copy that was fetched
// longer ago is not used, even if it is fresh. A copy is used and stored only if
// check accepts it. Errors are invalid_client, slow_down and temporarily_unavailable;
// they are not cached.
func (d *fetchCache) get(ctx context.Context, rawURL string, youngest time.Duration, check func([]byte) error) (cachedCopy, error) {
	if c, ok := d.copies.Get(rawURL); ok && d.usable(c, youngest) {
		return c, nil
	}
	if err := d.permits(rawURL); err != nil {
		return cachedCopy{}, unknownClient("The URL " + quoteForClient(rawURL) + " is refused: " + err.Error() + ".")
	}
	// A caller that needs a younger copy must not share the flight of one that does
	// not.
	flight := rawURL + " " + youngest.String()
	c, shared, err := d.refresh(ctx, flight, rawURL, youngest, check)
	if shared && errors.Is(err, errLimited) {
		// That was another caller's limit.
		c, _, err = d.refresh(ctx, flight+" "+observe.ClientKey(ctx), rawURL, youngest, check)
	}
	return c, err
}

func (d *fetchCache) refresh(ctx context.Context, flight, rawURL string, youngest time.Duration, check func([]byte) error) (c cachedCopy, shared bool, err error) {
	results := d.flights.DoChan(flight, func() (any, error) {
		// Other requests may wait for this flight, so it goes on when the request
		// that began it ends. Each step has its own time limit.
		return d.refreshed(context.WithoutCancel(ctx), rawURL, youngest, check)
	})
	select {
	case <-ctx.Done():
		return c, false, oauth.Unavailable("The request was canceled.", time.Second, ctx.Err())
	case result := <-results:
		c, _ = result.Val.(cachedCopy)
		return c, result.Shared, result.Err
	}
}

func (d *fetchCache) usable(c cachedCopy, youngest time.Duration) bool {
	now := d.now()
	return (now.Before(c.Fresh) && (youngest == 0 || now.Sub(c.Fetched) < youngest)) || now.Before(c.retry)
}

func (d *fetchCache) refreshed(ctx context.Context, rawURL string, youngest time.Duration, check func([]byte) error) (cachedCopy, error) {
	c := d.stored(ctx, rawURL, check)
	if d.usable(c, youngest) {
		d.copies.Add(rawURL, c)
		return c, nil
	}
	answer, err := d.fetch(ctx, rawURL, c.ETag, check)
	if err != nil {
		return d.standIn(ctx, rawURL, c, err)
	}
	d.failing.Remove(rawURL)
	now := d.now().UTC()
	c.URL, c.ETag, c.Fetched, c.Fresh, c.retry, c.builtIn = rawURL, answer.etag, now, now.Add(answer.fresh), time.Time{}, false
	if !answer.unchanged {
		c.body = answer.body
		if d.accepted != nil {
			d.accepted(ctx, rawURL, c.body)
		}
	}
	if c.row.ETag != "" { // of a client that a person has approved
		c = d.save(ctx, c)
	}
	d.copies.Add(rawURL, c)
	return c, nil
}

// fetch asks the host, within the limits.
func (d *fetchCache) fetch(ctx context.Context, rawURL, etag string, check func([]byte) error) (fetched, error) {
	if wait := d.limits.take(observe.ClientKey(ctx), rawURL); wait > 0 {
		return fetched{}, slowDown("Too many client metadata documents are being fetched. Try again in a moment.", max(wait, time.Second)).Because(errLimited)
	}
	answer, err := d.fetcher.get(ctx, rawURL, etag)
	if err == nil && !answer.unchanged {
		if err = check(answer.body); err != nil {
			err = &fetchError{what: "is not valid", final: true, cause: err}
		}
	}
	return answer, err
}

// standIn answers a failed fetch with the copy there is, or explains it. A copy
// that was fetched comes before one that is built in; neither is used if the
// host has said that there is no such document, or a different one.
func (d *fetchCache) standIn(ctx context.Context, rawURL string, c cachedCopy, err error) (cachedCopy, error) {
	fetchErr, failed := errors.AsType[*fetchError](err)
	if failed && c.Used {
		before, _ := d.failing.Get(rawURL)
		d.failing.Add(rawURL, failing{since: cmp.Or(before.since, d.now()), last: d.now()})
	}
	if !failed || !fetchErr.final {
		old := !c.builtIn && d.now().Before(c.Fresh.Add(staleFor))
		if body, known := d.builtIn[rawURL]; known && !old {
			c, old = cachedCopy{URL: rawURL, body: body, builtIn: true, row: c.row, shared: true}, true
		}
		if old {
			d.log.WarnContext(ctx, "a client's metadata document cannot be fetched; a copy is used (PINNED_CLIENTS can hold one)",
				"url", rawURL, "built_in", c.builtIn, "fetched", c.Fetched, "cause", err)
			c.retry = d.now().Add(standInFor)
			d.copies.Add(rawURL, c)
			return c, nil
		}
	}
	if !failed {
		return cachedCopy{}, err
	}
	d.log.WarnContext(ctx, "a client's metadata document cannot be fetched (PINNED_CLIENTS can hold one)", "url", rawURL, "cause", err)
	if refusal := new(oauth.Error); errors.As(fetchErr.cause, &refusal) && fetchErr.final {
		return cachedCopy{}, refusal
	}
	text := "The client's document at " + quoteForClient(rawURL) + " " + fetchErr.what + ". "
	if !fetchErr.final {
		text += "If this persists, the operator of this server can add the document to PINNED_CLIENTS. "
	}
	if fetchErr.down {
		return cachedCopy{}, oauth.Unavailable(text+"Try again in a moment.", tryAgain, err)
	}
	return cachedCopy{}, unknownClient(text[:len(text)-1]).Because(err)
}

// stored is the newest copy in memory or in the table, or one without a body. The table is
// only a cache here: if it does not answer, the document is fetched.
func (d *fetchCache) stored(ctx context.Context, rawURL string, check func([]byte) error) cachedCopy {
	known, _ := d.copies.Peek(rawURL)
	partition, key := d.key(rawURL)
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	row, err := d.table.Get(ctx, partition, key)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			d.log.WarnContext(ctx, "copies of client documents cannot be read", "cause", err)
		}
		known.row, known.shared = store.Row{}, false
		return known
	}
	head, body, _ := bytes.Cut(row.Value, []byte("\n"))
	c := cachedCopy{body: body, row: row, shared: true}
	if json.Unmarshal(head, &c) != nil || c.URL != rawURL || check(body) != nil {
		// What cannot be read, or a stricter policy now refuses, is replaced by
		// the next fetch.
		return cachedCopy{row: row}
	}
	if known.Fetched.After(c.Fetched) {
		known.row, known.Used = row, known.Used || c.Used
		return known
	}
	return c
}

// store writes a copy for all instances, if they do not have it.
func (d *fetchCache) store(ctx context.Context, c cachedCopy) {
	if !c.shared {
		d.copies.Add(c.URL, d.save(ctx, c))
	}
}

// use is store for a client that has got tokens.
func (d *fetchCache) use(ctx context.Context, c cachedCopy) {
	if !c.Used && !c.builtIn {
		c.Used, c.shared = true, false
	}
	d.store(ctx, c)
}

// save writes a copy to the table. If another instance writes its copy first, that
// one is kept.
func (d *fetchCache) save(ctx context.Context, c cachedCopy) cachedCopy {
	c.Version, c.shared = recordVersion, true
	head, err := json.Marshal(c)
	if err != nil {
		return c
	}
	var value bytes.Buffer
	value.Write(head)
	value.WriteByte('\n')
	if json.Compact(&value, c.body) != nil || value.Len() > store.MaxValue {
		return c // this instance keeps its own copy
	}
	partition, key := d.key(c.URL)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tableTimeout)
	defer cancel()
	row := store.Row{Partition: partition, Key: key, ETag: c.row.ETag, Value: value.Bytes(), Expires: expiry(c.Fresh, staleFor)}
	var etag store.ETag
	if row.ETag == "" {
		etag, err = d.table.Insert(ctx, row)
	} else {
		etag, err = d.table.Replace(ctx, row)
	}
	if err != nil && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		d.log.WarnContext(ctx, "client document not shared with other instances", "url", c.URL, "cause", err)
	}
	c.row = row
	c.row.ETag = etag
	return c
}

func (d *fetchCache) key(rawURL string) (partition, key string) {
	sum := sha256.Sum256([]byte(d.kind + rawURL))
	key = hex.EncodeToString(sum[:])
	return DocumentPrefix + key[:2], key
}

// probe fetches up to most of the documents of clients in use, and keeps nothing.
// failing are the URLs of those that could not be.
func (d *fetchCache) probe(ctx context.Context, most int) (asked int, failing []string, err error) {
	for row, err := range store.Rows(ctx, d.table, store.Prefix(DocumentPrefix)) {
		if err != nil {
			return asked, failing, err
		}
		if asked == most {
			break
		}
		head, _, _ := bytes.Cut(row.Value, []byte("\n"))
		var c cachedCopy
		if json.Unmarshal(head, &c) != nil || !c.Used || !d.now().Before(row.Expires) || d.permits(c.URL) != nil {
			continue
		}
		asked++
		if _, err := d.fetcher.get(ctx, c.URL, c.ETag); err != nil {
			failing = append(failing, c.URL)
		}
	}
	return asked, failing, nil
}
