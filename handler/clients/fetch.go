package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	// fetchTimeout bounds a fetch from name resolution to the last byte. A
	// client that waits for /authorize or /token gives up after 10 s.
	fetchTimeout = 3 * time.Second
	// A copy is fresh for what its headers say within these bounds.
	minFresh     = 5 * time.Minute
	defaultFresh = time.Hour
	maxFresh     = 24 * time.Hour
)

// fetcher gets JSON of at most maxDocument bytes from hosts that strangers name.
type fetcher struct {
	client  *http.Client
	timeout time.Duration
}

func newFetcher(resolver *net.Resolver, roots *x509.CertPool, loopback bool) fetcher {
	dialer := &net.Dialer{Timeout: fetchTimeout, Resolver: resolver, Control: dialGuard(loopback)}
	return fetcher{timeout: fetchTimeout, client: &http.Client{
		// A redirect would let a permitted URL lead to any other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would connect without dialGuard
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // the size limit is on what is sent
			DisableKeepAlives:      true, // fetches are rare, and a new dial is a new check
			MaxResponseHeaderBytes: 16 << 10,
		},
	}}
}

// fetched is a usable answer: a body, or that the earlier one has not changed.
type fetched struct {
	body      []byte
	etag      string
	fresh     time.Duration
	unchanged bool
}

// fetchError is an answer that cannot be used, or that none came.
type fetchError struct {
	what string // completes "The document …"
	// down is set if the host may answer the same request later.
	down bool
	// final is set if the host has said that the document does not exist, or has
	// sent one that is not valid, so that an older copy is not used either.
	final bool
	cause error
}

func (e *fetchError) Error() string {
	if e.cause != nil {
		return e.what + ": " + e.cause.Error()
	}
	return e.what
}

func (e *fetchError) Unwrap() error { return e.cause }

func (f fetcher) get(ctx context.Context, url, etag string) (fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fetched{}, &fetchError{what: "has a URL that cannot be fetched", cause: err}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "entramcp")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return fetched{}, unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && etag != "" {
		return fetched{etag: etag, fresh: freshness(resp.Header), unchanged: true}, nil
	}
	if err := checkAnswer(resp); err != nil {
		return fetched{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err == nil {
		// A host that sees our side close can still end its answer regularly.
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return fetched{}, &fetchError{what: "broke off", down: true, cause: err}
	case len(body) > maxDocument:
		return fetched{}, &fetchError{what: fmt.Sprintf("is longer than %d bytes", maxDocument)}
	}
	return fetched{body: body, etag: resp.Header.Get("ETag"), fresh: freshness(resp.Header)}, nil
}

func checkAnswer(resp *http.Response) error {
	status := resp.StatusCode
	if status != http.StatusOK {
		return &fetchError{
			what:  fmt.Sprintf("was answered with HTTP status %d", status),
			down:  status >= 500 || status == http.StatusTooManyRequests,
			final: status == http.StatusNotFound || status == http.StatusGone,
		}
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || (kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))) {
		return &fetchError{what: "is not of type application/json"}
	}
	return nil
}

// unreachable has the same text for every reason for which no answer came:
// strangers must not learn which names exist inside this server's network, and
// at what addresses.
func unreachable(err error) *fetchError {
	return &fetchError{what: "could not be fetched", down: true, cause: err}
}

// freshness is how long an answer stays fresh (RFC 9111 §4.2), within our
// bounds. Instances share copies, so s-maxage counts.
func freshness(h http.Header) time.Duration {
	directives := map[string]string{}
	for part := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		directives[strings.ToLower(name)] = strings.Trim(value, `"`)
	}
	for _, name := range []string{"no-store", "no-cache"} {
		if _, ok := directives[name]; ok {
			return minFresh
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if seconds, err := strconv.ParseUint(directives[name], 10, 31); err == nil {
			age, _ := strconv.ParseUint(h.Get("Age"), 10, 31)
			return min(max(time.Duration(int64(seconds)-int64(age))*time.Second, minFresh), maxFresh)
		}
	}
	return defaultFresh
}

// wireServer is Azure's own service on every virtual machine. It is in a public
// range, so that no registry of special-use addresses lists it
// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
var wireServer = netip.MustParsePrefix("168.63.129.16/32")

// dialGuard is a net.Dialer.Control function. It gets the address that is about
// to be connected to, after all name resolution, so a name that resolves to
// another address the second time (DNS rebinding) gains nothing. It refuses
// everything that is not global unicast (RFC 6890) and, unless loopback is
// permitted, this machine. Which ports may be used is decided by checkFetchURL.
func dialGuard(loopback bool) func(network, address string, _ syscall.RawConn) error {
	options := []ssrf.Option{ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(wireServer)}
	if loopback {
		options = append(options,
			ssrf.WithAllowedV4Prefixes(netip.MustParsePrefix("127.0.0.0/8")),
			ssrf.WithAllowedV6Prefixes(netip.MustParsePrefix("::1/128")))
	}
	return ssrf.New(options...).Safe
}
